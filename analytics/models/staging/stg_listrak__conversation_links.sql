{{ listrak.stage('conversation_links', ['conversation_id', 'message_id', 'link_id'], [
    ('conversation_id', 'ConversationID', 'integer'),
    ('message_id', 'MsgID', 'integer'),
    ('subject', 'Subject', 'string'),
    ('link_id', 'LinkID', 'integer'),
    ('url', 'LinkURL', 'string'),
    ('link_type', 'Type', 'string'),
    ('description', 'LinkDescription', 'string'),
    ('clicks', 'ClickCount', 'integer'),
    ('clickers', 'ClickerCount', 'integer'),
]) }}
