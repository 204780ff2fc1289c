with contacts as (
    select
        source_relation,
        mail_type,
        email_address,
        case when mail_type = 'campaign' and sends > 1 then 1 else sends end as sent,
        bounced,
        0 as complaints
    from {{ ref('int_listrak__contact_mail') }}

    union all

    select
        complaints.source_relation,
        case when messages.message_id is not null then messages.mail_type else 'automated' end as mail_type,
        max(complaints.email_address) as email_address,
        0 as sent,
        0 as bounced,
        1 as complaints
    from {{ ref('stg_listrak__abuse_complaints') }} as complaints
    left join {{ ref('listrak__messages') }} as messages
        on messages.source_relation = complaints.source_relation
        and messages.message_id = complaints.message_id
    group by
        complaints.source_relation,
        complaints.message_id,
        messages.message_id,
        messages.mail_type,
        coalesce(complaints.contact_id, complaints.email_address)
),

domains as (
    select
        source_relation,
        mail_type,
        {{ dbt.split_part('email_address', "'@'", 2) }} as email_domain,
        sum(sent) as sent,
        sum(bounced) as bounces,
        sum(complaints) as complaints
    from contacts
    where email_address like '%_@_%'
    group by source_relation, mail_type, {{ dbt.split_part('email_address', "'@'", 2) }}
),

known as (
    select
        domains.source_relation,
        domains.mail_type,
        domains.email_domain,
        case
            when domains.mail_type = 'campaign' and streams.has_message_sends then domains.sent
            when domains.mail_type = 'automated' and streams.has_conversation_sends then domains.sent
        end as sent,
        case
            when domains.mail_type = 'campaign' and streams.has_message_bounces then domains.bounces
            when domains.mail_type = 'automated' and streams.has_conversation_bounces then domains.bounces
        end as bounces,
        case
            when streams.has_abuse_complaints and streams.has_messages then domains.complaints
        end as complaints
    from domains
    inner join {{ ref('int_listrak__connections') }} as streams
        on streams.source_relation = domains.source_relation
)

select
    *,
    {{ listrak.rate('(sent - bounces)', 'sent') }} as delivery_rate,
    {{ listrak.rate('bounces', 'sent') }} as bounce_rate,
    {{ listrak.rate('complaints', 'sent') }} as complaint_rate
from known
