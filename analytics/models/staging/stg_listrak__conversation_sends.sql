{{ listrak.stage('conversation_sends', ['conversation_id', 'message_id', 'contact_id', 'sent_at'], [
    ('conversation_id', 'ConversationID', 'integer'),
    ('message_id', 'MsgID', 'integer'),
    ('contact_id', 'ContactID', 'string'),
    ('email_address', 'EmailAddress', 'email'),
    ('sent_at', 'SendDate', 'instant'),
]) }}
