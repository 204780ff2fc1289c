{{ listrak.stage('message_analytics', ['message_id'], [
    ('message_id', 'MsgID', 'integer'),
    ('campaign_id', 'CampaignID', 'integer'),
    ('campaign_name', 'CampaignName', 'string'),
    ('utm_campaign', 'GoogleAnalyticsCampaignName', 'string'),
    ('utm_content', 'GoogleAnalyticsCampaignContent', 'string'),
]) }}
