{{ listrak.stage('message_deliveries', ['message_id'], [
    ('message_id', 'MsgID', 'integer'),
    ('delivered', 'DeliverCount', 'integer'),
    ('delivered_percent', 'DeliverPercent', 'decimal'),
    ('bounces', 'BounceCount', 'integer'),
]) }}
