with events as (
    select email_address, 1 as sent, 0 as bounced, 0 as complaints
    from {{ ref('int_listrak__events') }}
    where event = 'send'

    union all

    -- A contact counts once per message, however often delivery was tried.
    select email_address, 0 as sent, 1 as bounced, 0 as complaints
    from {{ ref('int_listrak__events') }}
    where event = 'bounce'
    group by mail_type, conversation_id, message_id, email_address

    union all

    select email_address, 0 as sent, 0 as bounced, 1 as complaints
    from {{ ref('stg_listrak__abuse_complaints') }}
),

domains as (
    select {{ dbt.split_part('email_address', "'@'", 2) }} as email_domain, sent, bounced, complaints
    from events
    where email_address like '%_@_%'
)

select
    email_domain,
    sum(sent) as sent,
    sum(bounced) as bounced,
    sum(complaints) as complaints,
    1.0 * sum(bounced) / nullif(sum(sent), 0) as bounce_rate,
    1.0 * sum(complaints) / nullif(sum(sent), 0) as complaint_rate
from domains
group by email_domain
