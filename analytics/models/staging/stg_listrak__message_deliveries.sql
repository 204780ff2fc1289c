{{ listrak.stage('message_deliveries', ['message_id'], [
    ('message_id', 'MsgID', 'integer'),
    ('bounces', 'BounceCount', 'integer'),
]) }}
