{{ listrak.stage('message_reads', ['message_id', 'email_address', 'read_at'], [
    ('message_id', 'MsgID', 'integer'),
    ('contact_id', 'ContactID', 'string'),
    ('email_address', 'EmailAddress', 'email'),
    ('read_at', 'ReadDate', 'text_instant'),
]) }}
