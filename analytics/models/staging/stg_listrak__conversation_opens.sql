{{ listrak.stage('conversation_opens', ['conversation_id', 'message_id', 'contact_id', 'opened_at'], [
    ('conversation_id', 'ConversationID', 'integer'),
    ('message_id', 'MsgID', 'integer'),
    ('contact_id', 'ContactID', 'string'),
    ('email_address', 'EmailAddress', 'email'),
    ('opened_at', 'OpenDate', 'instant'),
]) }}
