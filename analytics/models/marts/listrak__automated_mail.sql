with sends as (
    select
        conversation_id,
        count(distinct message_id) as messages,
        max(sent_at) as last_sent_at
    from {{ ref('stg_listrak__conversation_sends') }}
    group by conversation_id
)

select
    conversations.conversation_id,
    conversations.conversation_name,
    conversations.list_id,
    lists.list_name,
    conversations.campaign_id,
    coalesce(campaigns.campaign_name, conversations.campaign_name) as campaign_name,
    conversations.published_at,
    sends.last_sent_at,
    coalesce(sends.messages, 0) as messages,
    conversations.contacts,
    conversations.waiting,
    conversations.terminated,
    coalesce(deliveries.sent, conversations.delivered) as sent,
    conversations.delivered,
    coalesce(deliveries.bounces, 0) as bounces,
    conversations.opens,
    conversations.reads,
    conversations.clicks,
    conversations.unsubscribes,
    conversations.conversions,
    conversations.revenue,
    1.0 * conversations.opens / nullif(conversations.delivered, 0) as open_rate,
    1.0 * conversations.reads / nullif(conversations.delivered, 0) as read_rate,
    1.0 * conversations.unsubscribes / nullif(conversations.delivered, 0) as unsubscribe_rate
from {{ ref('stg_listrak__conversations') }} as conversations
left join {{ ref('stg_listrak__lists') }} as lists
    on lists.list_id = conversations.list_id
left join {{ ref('stg_listrak__campaigns') }} as campaigns
    on campaigns.list_id = conversations.list_id
    and campaigns.campaign_id = conversations.campaign_id
left join {{ ref('stg_listrak__conversation_deliveries') }} as deliveries
    on deliveries.list_id = conversations.list_id
    and deliveries.conversation_id = conversations.conversation_id
left join sends on sends.conversation_id = conversations.conversation_id
