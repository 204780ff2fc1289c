with events as (
    select
        source_relation,
        mail_type,
        event,
        {{ listrak.local_day('occurred_at') }} as date_day,
        count(*) as events
    from {{ ref('int_listrak__mail_events') }}
    where occurred_at is not null and event in ('open', 'read', 'click')
    group by source_relation, mail_type, event, {{ listrak.local_day('occurred_at') }}

    union all

    -- A contact counts once for a message, on the day of the last attempt.
    {%- for event, condition, date in [
        ('bounce', 'bounced = 1', 'bounced_at'),
        ('unsubscribe', 'unsubscribes > 0', 'unsubscribed_at'),
    ] %}
    select
        source_relation,
        mail_type,
        '{{ event }}' as event,
        {{ listrak.local_day(date) }} as date_day,
        count(*) as events
    from {{ ref('int_listrak__contact_mail') }}
    where {{ condition }} and {{ date }} is not null
    group by source_relation, mail_type, {{ listrak.local_day(date) }}

    union all
    {% endfor %}
    -- Automated mail reaches a contact with each send.
    select
        source_relation,
        mail_type,
        event,
        {{ listrak.local_day('occurred_at') }} as date_day,
        count(*) as events
    from {{ ref('int_listrak__mail_events') }}
    where occurred_at is not null and event = 'send' and mail_type = 'automated'
    group by source_relation, mail_type, event, {{ listrak.local_day('occurred_at') }}
),

sent as (
    select
        source_relation,
        {{ listrak.local_day('sent_at') }} as date_day,
        {{ listrak.whole_sum('sent') }} as sends
    from {{ ref('listrak__messages') }}
    where mail_type = 'campaign' and sent_at is not null
    group by source_relation, {{ listrak.local_day('sent_at') }}
),

counted as (
    select
        source_relation,
        mail_type,
        date_day,
    {%- for event, column in [
        ('send', 'sends'), ('bounce', 'bounces'), ('open', 'opens'), ('read', 'reads'),
        ('click', 'clicks'), ('unsubscribe', 'unsubscribes'),
    ] %}
        sum(case when event = '{{ event }}' then events else 0 end) as {{ column }}
        {%- if not loop.last %},{% endif %}
    {%- endfor %}
    from events
    group by source_relation, mail_type, date_day
),

spans as (
    select source_relation, min(date_day) as first_day, max(date_day) as last_day
    from (
        select source_relation, date_day
        from counted
        union all
        select source_relation, date_day
        from sent
    ) as active
    group by source_relation
),

mail_types as (
    select 'campaign' as mail_type
    union all
    select 'automated' as mail_type
),

days as (
    select spans.source_relation, mail_types.mail_type, days.date_day
    from spans
    cross join mail_types
    inner join {{ ref('int_listrak__days') }} as days
        on days.date_day between spans.first_day and spans.last_day

    union all

    -- Days that the calendar does not have, such as of a wrong date, keep their events.
    select counted.source_relation, counted.mail_type, counted.date_day
    from counted
    left join {{ ref('int_listrak__days') }} as days on days.date_day = counted.date_day
    where days.date_day is null
)

select
    days.source_relation,
    days.date_day,
    days.mail_type,
    case
        when days.mail_type = 'automated' and streams.has_conversation_sends then coalesce(counted.sends, 0)
        when days.mail_type = 'campaign' and sent.date_day is not null then sent.sends
        when days.mail_type = 'campaign' and streams.has_messages then 0
    end as sends,
    {%- for column, campaign, automated in [
        ('bounces', 'has_message_bounces', 'has_conversation_bounces'),
        ('opens', 'has_every_opens', 'has_conversation_opens'),
        ('reads', 'has_every_reads', 'has_conversation_reads'),
        ('clicks', 'has_every_clicks', none),
        ('unsubscribes', 'has_message_unsubs', 'has_conversation_unsubs'),
    ] %}
    case
        when days.mail_type = 'campaign' and streams.{{ campaign }} then coalesce(counted.{{ column }}, 0)
        {%- if automated %}
        when days.mail_type = 'automated' and streams.{{ automated }} then coalesce(counted.{{ column }}, 0)
        {%- endif %}
    end as {{ column }}
    {%- if not loop.last %},{% endif %}
    {%- endfor %}
from days
inner join {{ ref('int_listrak__connections') }} as streams
    on streams.source_relation = days.source_relation
left join counted
    on counted.source_relation = days.source_relation
    and counted.mail_type = days.mail_type
    and counted.date_day = days.date_day
left join sent
    on sent.source_relation = days.source_relation
    and sent.date_day = days.date_day
