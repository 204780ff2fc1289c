{{ listrak.stage('list_address_changes', ['list_id', 'coalesce(contact_id, email_address)', 'old_email_address', 'changed_at'], [
    ('list_id', 'ListID', 'integer'),
    ('contact_id', 'ContactID', 'string'),
    ('old_email_address', 'OldEmailAddress', 'email'),
    ('email_address', 'EmailAddress', 'email'),
    ('changed_at', 'HygieneDate', 'text_instant'),
]) }}
