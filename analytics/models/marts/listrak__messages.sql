with contacts as (
    select
        source_relation,
        message_id,
        sum(case when sends > 0 then 1 else 0 end) as sent,
        -- Recipients without an address cannot be distinguished, so they cannot be counted.
        max(case when sends > 0 and contact_key is null then 1 else 0 end) as has_unknown,
        sum(bounced) as bounces
    from {{ ref('int_listrak__contact_mail') }}
    group by source_relation, message_id
),

times as (
    select
        source_relation,
        message_id,
        avg(hours_to_open) as average_hours_to_open,
        avg(hours_to_click) as average_hours_to_click
    from {{ ref('listrak__contact_message') }}
    group by source_relation, message_id
),

complaints as (
    select
        source_relation,
        message_id,
        count(distinct coalesce(contact_id, email_address)) as complaints
    from {{ ref('stg_listrak__abuse_complaints') }}
    group by source_relation, message_id
),

messages as (
    select
        messages.source_relation,
        messages.message_id,
        case when automated.message_id is null then 'campaign' else 'automated' end as mail_type,
        messages.list_id,
        lists.list_name,
        nullif(analytics.campaign_id, 0) as campaign_id,
        coalesce(campaigns.campaign_name, analytics.campaign_name) as campaign_name,
        analytics.utm_campaign,
        analytics.utm_content,
        messages.subject,
        messages.sent_at,
        case
            -- Fewer recipients than deliveries have not all arrived yet.
            when streams.has_message_sends
                and coalesce(contacts.has_unknown, 0) = 0
                and coalesce(contacts.sent, 0) >= messages.delivered
                then coalesce(contacts.sent, 0)
            -- Listrak's percentage, of either form, shows that it counts what was sent as this sum.
            when deliveries.delivered + deliveries.bounces = 0 then 0
            when abs(
                deliveries.delivered_percent
                - 100.0 * deliveries.delivered / (deliveries.delivered + deliveries.bounces)
            ) <= 0.01
                or abs(
                    100.0 * deliveries.delivered_percent
                    - 100.0 * deliveries.delivered / (deliveries.delivered + deliveries.bounces)
                ) <= 0.01
                then deliveries.delivered + deliveries.bounces
        end as sent,
        messages.delivered,
        case when streams.has_message_bounces then coalesce(contacts.bounces, 0) end as bounces,
        messages.opens,
        messages.reads,
        messages.clicks,
        messages.clickers,
        messages.unsubscribes,
        case
            when streams.has_abuse_complaints then coalesce(complaints.complaints, 0)
        end as complaints,
        messages.conversions,
        messages.revenue,
        times.average_hours_to_open,
        times.average_hours_to_click
    from {{ ref('stg_listrak__messages') }} as messages
    inner join {{ ref('int_listrak__connections') }} as streams
        on streams.source_relation = messages.source_relation
    left join {{ ref('stg_listrak__lists') }} as lists
        on lists.source_relation = messages.source_relation
        and lists.list_id = messages.list_id
    left join {{ ref('stg_listrak__message_analytics') }} as analytics
        on analytics.source_relation = messages.source_relation
        and analytics.message_id = messages.message_id
    left join {{ ref('stg_listrak__campaigns') }} as campaigns
        on campaigns.source_relation = messages.source_relation
        and campaigns.list_id = messages.list_id
        and campaigns.campaign_id = nullif(analytics.campaign_id, 0)
    left join {{ ref('stg_listrak__message_deliveries') }} as deliveries
        on deliveries.source_relation = messages.source_relation
        and deliveries.message_id = messages.message_id
    left join {{ ref('int_listrak__automated_messages') }} as automated
        on automated.source_relation = messages.source_relation
        and automated.message_id = messages.message_id
    left join contacts
        on contacts.source_relation = messages.source_relation
        and contacts.message_id = messages.message_id
    left join times
        on times.source_relation = messages.source_relation
        and times.message_id = messages.message_id
    left join complaints
        on complaints.source_relation = messages.source_relation
        and complaints.message_id = messages.message_id
)

select
    *,
    {{ listrak.rates() }}
from messages
