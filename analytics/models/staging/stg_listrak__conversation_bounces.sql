{{ listrak.stage('conversation_bounces', ['conversation_id', 'message_id', 'contact_id', 'bounced_at'], [
    ('conversation_id', 'ConversationID', 'integer'),
    ('message_id', 'MsgID', 'integer'),
    ('contact_id', 'ContactID', 'string'),
    ('email_address', 'EmailAddress', 'email'),
    ('bounced_at', 'BounceDate', 'instant'),
]) }}
