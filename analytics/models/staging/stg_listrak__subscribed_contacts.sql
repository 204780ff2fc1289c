{{ listrak.stage('subscribed_contacts', ['list_id', 'coalesce(contact_id, email_address)'], [
    ('list_id', 'ListID', 'integer'),
    ('contact_id', 'ContactID', 'string'),
    ('email_address', 'EmailAddress', 'email'),
    ('subscribed_at', 'AdditionDate', 'instant'),
    ('addition_method', 'AdditionMethod', 'string'),
]) }}
