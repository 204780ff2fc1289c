select
    cast(occurred_at as date) as date_day,
    mail_type,
    sum(case when event = 'send' then 1 else 0 end) as sends,
    sum(case when event = 'bounce' then 1 else 0 end) as bounces,
    sum(case when event = 'open' then 1 else 0 end) as opens,
    sum(case when event = 'read' then 1 else 0 end) as reads,
    -- Listrak does not date the clicks of automated mail, so they are unknown and not zero.
    sum(case when event = 'click' then 1 when mail_type = 'campaign' then 0 end) as clicks,
    sum(case when event = 'unsubscribe' then 1 else 0 end) as unsubscribes
from {{ ref('int_listrak__events') }}
where occurred_at is not null
group by cast(occurred_at as date), mail_type
