{{ config(materialized='table') }}
-- What each contact did with each message, in campaigns and automated mail.
with keyed as (
    select
        events.*,
        coalesce(ids.contact_id, events.contact_id, events.email_address) as contact_key
    from {{ ref('int_listrak__mail_events') }} as events
    left join {{ ref('int_listrak__contact_ids') }} as ids
        on ids.source_relation = events.source_relation
        and ids.list_id = coalesce(events.list_id, -events.message_id)
        and ids.email_address = events.email_address
),

ranked as (
    select
        *,
        row_number() over (
            partition by source_relation, mail_type, conversation_id, message_id, contact_key
            order by
                case when email_address is null then 1 else 0 end, extracted_at desc, event_id
        ) as address_rank,
        row_number() over (
            partition by source_relation, mail_type, conversation_id, message_id, contact_key, event
            order by
                case when occurred_at is null then 1 else 0 end, occurred_at desc, extracted_at desc
        ) as event_rank
    from keyed
)

select
    source_relation,
    mail_type,
    conversation_id,
    message_id,
    max(list_id) as list_id,
    contact_key,
    max(contact_id) as contact_id,
    max(case when address_rank = 1 then email_address end) as email_address,
    sum(case when event = 'send' then 1 else 0 end) as sends,
    max(case when event = 'send' then occurred_at end) as last_sent_at,
    sum(case when event = 'bounce' then 1 else 0 end) as bounce_rows,
    -- The last attempt decides: mail that was answered automatically was delivered.
    max(case when event = 'bounce' and event_rank = 1 then bounce_reason end) as bounce_reason,
    max(case when event = 'bounce' and event_rank = 1 then occurred_at end) as bounced_at,
    max(
        case
            when event = 'bounce' and event_rank = 1
                and coalesce(bounce_reason, '') <> 'Auto Reply' then 1
            else 0
        end
    ) as bounced,
    sum(case when event = 'open' then 1 else 0 end) as opens,
    min(case when event = 'open' then occurred_at end) as first_opened_at,
    max(case when event = 'open' then occurred_at end) as last_opened_at,
    sum(case when event = 'read' then 1 else 0 end) as reads,
    sum(case when event = 'click' then 1 else 0 end) as clicks,
    min(case when event = 'click' then occurred_at end) as first_clicked_at,
    max(case when event = 'click' then occurred_at end) as last_clicked_at,
    sum(case when event = 'unsubscribe' then 1 else 0 end) as unsubscribes,
    max(case when event = 'unsubscribe' then occurred_at end) as unsubscribed_at,
    max(extracted_at) as last_extracted_at
from ranked
group by source_relation, mail_type, conversation_id, message_id, contact_key
