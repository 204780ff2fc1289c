{{ listrak.stage('messages', ['message_id'], [
    ('message_id', 'MsgID', 'integer'),
    ('list_id', 'ListID', 'integer'),
    ('subject', 'Subject', 'string'),
    ('sent_at', 'SendDate', 'instant'),
    ('delivered', 'DeliverCount', 'integer'),
    ('opens', 'OpenCount', 'integer'),
    ('reads', 'ReadCount', 'integer'),
    ('clicks', 'ClickCount', 'integer'),
    ('clickers', 'ClickerCount', 'integer'),
    ('unsubscribes', 'RemoveCount', 'integer'),
    ('conversions', 'ConversionCount', 'integer'),
    ('revenue', 'OrderTotal', 'decimal'),
]) }}
