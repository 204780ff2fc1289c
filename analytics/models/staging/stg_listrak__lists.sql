{{ listrak.stage('lists', ['list_id'], [
    ('list_id', 'ListID', 'integer'),
    ('list_name', 'ListName', 'string'),
    ('created_at', 'CreateDate', 'instant'),
]) }}
