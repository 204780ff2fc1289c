{{ listrak.stage('conversation_deliveries', ['list_id', 'conversation_id'], [
    ('list_id', 'ListID', 'integer'),
    ('conversation_id', 'ConversationID', 'integer'),
    ('sent', 'SendCount', 'integer'),
    ('delivered', 'DeliverCount', 'integer'),
    ('bounces', 'BounceCount', 'integer'),
]) }}
