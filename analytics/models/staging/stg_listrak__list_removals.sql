{{ listrak.stage('list_removals', ['list_id', 'coalesce(contact_id, email_address)', 'removed_at'], [
    ('list_id', 'ListID', 'integer'),
    ('contact_id', 'ContactID', 'string'),
    ('email_address', 'EmailAddress', 'email'),
    ('subscribed_at', 'AdditionDate', 'instant'),
    ('removed_at', 'RemovalDate', 'instant'),
    ('removal_method', 'RemovalMethod', 'string'),
]) }}
