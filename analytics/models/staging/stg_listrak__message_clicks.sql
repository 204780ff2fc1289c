{{ listrak.stage('message_clicks', ['message_id', 'email_address', 'clicked_at', 'url'], [
    ('message_id', 'MsgID', 'integer'),
    ('contact_id', 'ContactID', 'string'),
    ('email_address', 'EmailAddress', 'email'),
    ('url', 'LinkUrl', 'string'),
    ('clicked_at', 'ClickDate', 'text_instant'),
]) }}
