{{ listrak.stage('conversation_unsubs', ['conversation_id', 'message_id', 'contact_id', 'unsubscribed_at'], [
    ('conversation_id', 'ConversationID', 'integer'),
    ('message_id', 'MsgID', 'integer'),
    ('contact_id', 'ContactID', 'string'),
    ('email_address', 'EmailAddress', 'email'),
    ('unsubscribed_at', 'RemoveDate', 'instant'),
]) }}
