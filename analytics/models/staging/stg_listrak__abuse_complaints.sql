{{ listrak.stage('abuse_complaints', ['list_id', 'message_id', 'coalesce(contact_id, email_address)', 'complained_at'], [
    ('list_id', 'ListID', 'integer'),
    ('message_id', 'MessageID', 'integer'),
    ('contact_id', 'ContactID', 'string'),
    ('email_address', 'EmailAddress', 'email'),
    ('complained_at', 'AbuseDate', 'instant'),
    ('provider', 'ISPName', 'string'),
]) }}
