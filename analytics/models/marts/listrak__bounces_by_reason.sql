with reasons as (
    select
        source_relation,
        mail_type,
        coalesce(bounce_reason, '(none given)') as bounce_reason,
        case when bounce_reason = 'Auto Reply' then true else false end as was_delivered,
        count(*) as contacts,
        count(distinct message_id) as messages,
        min(bounced_at) as first_bounced_at,
        max(bounced_at) as last_bounced_at
    from {{ ref('int_listrak__contact_mail') }}
    where bounce_rows > 0
    group by
        source_relation,
        mail_type,
        coalesce(bounce_reason, '(none given)'),
        case when bounce_reason = 'Auto Reply' then true else false end
)

select
    *,
    1.0 * contacts / sum(contacts) over (partition by source_relation, mail_type) as share
from reasons
