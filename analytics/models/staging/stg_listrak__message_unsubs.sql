{{ listrak.stage('message_unsubs', ['message_id', 'email_address', 'unsubscribed_at'], [
    ('message_id', 'MsgID', 'integer'),
    ('contact_id', 'ContactID', 'string'),
    ('email_address', 'EmailAddress', 'email'),
    ('unsubscribed_at', 'RemovalDate', 'text_instant'),
]) }}
