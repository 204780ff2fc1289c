{{ listrak.stage('message_sends', ['message_id', 'email_address'], [
    ('message_id', 'MsgID', 'integer'),
    ('email_address', 'EmailAddress', 'email'),
]) }}
