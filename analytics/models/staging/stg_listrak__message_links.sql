{{ listrak.stage('message_links', ['message_id', 'link_id'], [
    ('message_id', 'MsgID', 'integer'),
    ('link_id', 'LinkID', 'integer'),
    ('url', 'LinkURL', 'string'),
    ('link_type', 'LinkType', 'string'),
    ('description', 'LinkDescription', 'string'),
    ('clicks', 'ClickCount', 'integer'),
    ('clickers', 'ClickerCount', 'integer'),
]) }}
