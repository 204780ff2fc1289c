with mail as (
    select
        source_relation,
        list_id,
        conversation_id,
        count(distinct message_id) as messages,
        max(last_sent_at) as last_sent_at,
        sum(bounced) as bounces
    from {{ ref('int_listrak__contact_mail') }}
    where mail_type = 'automated'
    group by source_relation, list_id, conversation_id
),

-- The mail of an id that two lists share cannot be attributed to either.
shared as (
    select source_relation, conversation_id
    from {{ ref('stg_listrak__conversations') }}
    group by source_relation, conversation_id
    having min(list_id) <> max(list_id)
),

complaints as (
    select
        mail.source_relation,
        mail.list_id,
        mail.conversation_id,
        count(
            distinct cast(complaints.message_id as {{ listrak.string_type() }})
            || '|' || coalesce(complaints.contact_id, complaints.email_address)
        ) as complaints
    from (
        select distinct source_relation, list_id, conversation_id, message_id
        from {{ ref('int_listrak__contact_mail') }}
        where mail_type = 'automated'
    ) as mail
    inner join {{ ref('stg_listrak__abuse_complaints') }} as complaints
        on complaints.source_relation = mail.source_relation
        and complaints.list_id = mail.list_id
        and complaints.message_id = mail.message_id
    group by mail.source_relation, mail.list_id, mail.conversation_id
),

conversations as (
    select
        conversations.source_relation,
        conversations.conversation_id,
        conversations.conversation_name,
        conversations.list_id,
        lists.list_name,
        nullif(conversations.campaign_id, 0) as campaign_id,
        coalesce(campaigns.campaign_name, conversations.campaign_name) as campaign_name,
        conversations.published_at,
        mail.last_sent_at,
        case
            when streams.has_conversation_sends and shared.conversation_id is null
                then coalesce(mail.messages, 0)
        end as messages,
        conversations.contacts,
        conversations.waiting,
        conversations.terminated,
        deliveries.sent,
        conversations.delivered,
        case
            when streams.has_conversation_bounces and shared.conversation_id is null
                then coalesce(mail.bounces, 0)
        end as bounces,
        conversations.opens,
        conversations.reads,
        conversations.clicks,
        {{ listrak.typed('null', 'integer') }} as clickers,
        conversations.unsubscribes,
        case
            when streams.has_abuse_complaints and streams.has_conversation_sends
                and shared.conversation_id is null
                then coalesce(complaints.complaints, 0)
        end as complaints,
        conversations.conversions,
        conversations.revenue
    from {{ ref('stg_listrak__conversations') }} as conversations
    inner join {{ ref('int_listrak__connections') }} as streams
        on streams.source_relation = conversations.source_relation
    left join {{ ref('stg_listrak__lists') }} as lists
        on lists.source_relation = conversations.source_relation
        and lists.list_id = conversations.list_id
    left join {{ ref('stg_listrak__campaigns') }} as campaigns
        on campaigns.source_relation = conversations.source_relation
        and campaigns.list_id = conversations.list_id
        and campaigns.campaign_id = nullif(conversations.campaign_id, 0)
    left join {{ ref('stg_listrak__conversation_deliveries') }} as deliveries
        on deliveries.source_relation = conversations.source_relation
        and deliveries.list_id = conversations.list_id
        and deliveries.conversation_id = conversations.conversation_id
    left join mail
        on mail.source_relation = conversations.source_relation
        and mail.list_id = conversations.list_id
        and mail.conversation_id = conversations.conversation_id
    left join shared
        on shared.source_relation = conversations.source_relation
        and shared.conversation_id = conversations.conversation_id
    left join complaints
        on complaints.source_relation = conversations.source_relation
        and complaints.list_id = conversations.list_id
        and complaints.conversation_id = conversations.conversation_id
)

select
    *,
    {{ listrak.rates() }}
from conversations
