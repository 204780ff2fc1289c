{{ listrak.stage('message_opens', ['message_id', 'email_address', 'opened_at'], [
    ('message_id', 'MsgID', 'integer'),
    ('contact_id', 'ContactID', 'string'),
    ('email_address', 'EmailAddress', 'email'),
    ('opened_at', 'OpenDate', 'text_instant'),
]) }}
