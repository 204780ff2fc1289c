{{ listrak.stage('conversation_reads', ['conversation_id', 'message_id', 'contact_id', 'read_at'], [
    ('conversation_id', 'ConversationID', 'integer'),
    ('message_id', 'MsgID', 'integer'),
    ('contact_id', 'ContactID', 'string'),
    ('email_address', 'EmailAddress', 'email'),
    ('read_at', 'ReadDate', 'instant'),
]) }}
