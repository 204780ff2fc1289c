{{ listrak.stage('campaigns', ['list_id', 'campaign_id'], [
    ('list_id', 'ListID', 'integer'),
    ('campaign_id', 'CampaignID', 'integer'),
    ('campaign_name', 'Name', 'string'),
]) }}
