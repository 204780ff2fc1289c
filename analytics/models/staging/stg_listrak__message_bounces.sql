{{ listrak.stage('message_bounces', ['message_id', 'email_address', 'bounced_at'], [
    ('message_id', 'MsgID', 'integer'),
    ('contact_id', 'ContactID', 'string'),
    ('email_address', 'EmailAddress', 'email'),
    ('bounce_reason', 'BounceReason', 'string'),
    ('bounced_at', 'BounceDate', 'text_instant'),
]) }}
