with sends as (
    select message_id, count(*) as sent
    from {{ ref('stg_listrak__message_sends') }}
    group by message_id
),

bounces as (
    -- A contact counts once, however often delivery was tried.
    select message_id, count(distinct email_address) as bounces
    from {{ ref('stg_listrak__message_bounces') }}
    group by message_id
),

campaigns as (
    select
        messages.message_id,
        messages.list_id,
        lists.list_name,
        analytics.campaign_id,
        coalesce(campaigns.campaign_name, analytics.campaign_name) as campaign_name,
        analytics.utm_campaign,
        analytics.utm_content,
        messages.subject,
        messages.sent_at,
        sends.sent,
        messages.delivered,
        coalesce(deliveries.bounces, bounces.bounces, 0) as bounces,
        messages.opens,
        messages.reads,
        messages.clicks,
        messages.clickers,
        messages.unsubscribes,
        messages.conversions,
        messages.revenue
    from {{ ref('stg_listrak__messages') }} as messages
    left join {{ ref('stg_listrak__lists') }} as lists
        on lists.list_id = messages.list_id
    left join {{ ref('stg_listrak__message_analytics') }} as analytics
        on analytics.message_id = messages.message_id
    left join {{ ref('stg_listrak__campaigns') }} as campaigns
        on campaigns.list_id = messages.list_id
        and campaigns.campaign_id = analytics.campaign_id
    left join {{ ref('stg_listrak__message_deliveries') }} as deliveries
        on deliveries.message_id = messages.message_id
    left join sends on sends.message_id = messages.message_id
    left join bounces on bounces.message_id = messages.message_id
    left join {{ ref('int_listrak__conversation_messages') }} as automated
        on automated.message_id = messages.message_id
    where automated.message_id is null
)

select
    message_id,
    list_id,
    list_name,
    campaign_id,
    campaign_name,
    utm_campaign,
    utm_content,
    subject,
    sent_at,
    -- The recipients may not be replicated, or not arrived yet.
    coalesce(sent, delivered + bounces) as sent,
    delivered,
    bounces,
    opens,
    reads,
    clicks,
    clickers,
    unsubscribes,
    conversions,
    revenue,
    1.0 * opens / nullif(delivered, 0) as open_rate,
    1.0 * reads / nullif(delivered, 0) as read_rate,
    1.0 * clickers / nullif(delivered, 0) as click_rate,
    1.0 * unsubscribes / nullif(delivered, 0) as unsubscribe_rate
from campaigns
