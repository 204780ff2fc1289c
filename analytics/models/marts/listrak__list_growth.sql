with subscriptions as (
    select source_relation, list_id, contact_id, email_address, subscribed_at
    from {{ ref('stg_listrak__subscribed_contacts') }}

    union all

    -- Those who left are not in subscribed_contacts when it is read in full.
    select source_relation, list_id, contact_id, email_address, subscribed_at
    from {{ ref('stg_listrak__list_removals') }}
),

changes as (
    select
        source_relation,
        list_id,
        {{ listrak.local_day('subscribed_at') }} as date_day,
        1 as added,
        0 as removed
    from subscriptions
    where subscribed_at is not null
    group by source_relation, list_id, coalesce(contact_id, email_address), subscribed_at

    union all

    select
        source_relation,
        list_id,
        {{ listrak.local_day('removed_at') }} as date_day,
        0 as added,
        1 as removed
    from {{ ref('stg_listrak__list_removals') }}
    where removed_at is not null
),

counted as (
    select
        source_relation,
        list_id,
        date_day,
        sum(added) as added,
        sum(removed) as removed
    from changes
    group by source_relation, list_id, date_day
),

spans as (
    select source_relation, list_id, min(date_day) as first_day, max(date_day) as last_day
    from counted
    group by source_relation, list_id
),

days as (
    select spans.source_relation, spans.list_id, days.date_day
    from spans
    inner join {{ ref('int_listrak__days') }} as days
        on days.date_day between spans.first_day and spans.last_day

    union all

    -- Days that the calendar does not have, such as of a wrong date, keep their changes.
    select counted.source_relation, counted.list_id, counted.date_day
    from counted
    left join {{ ref('int_listrak__days') }} as days on days.date_day = counted.date_day
    where days.date_day is null
),

known as (
    select
        days.source_relation,
        days.list_id,
        lists.list_name,
        days.date_day,
        case
            when streams.has_subscribed_contacts and streams.has_list_removals
                then coalesce(counted.added, 0)
        end as added,
        case when streams.has_list_removals then coalesce(counted.removed, 0) end as removed
    from days
    inner join {{ ref('int_listrak__connections') }} as streams
        on streams.source_relation = days.source_relation
    left join {{ ref('stg_listrak__lists') }} as lists
        on lists.source_relation = days.source_relation
        and lists.list_id = days.list_id
    left join counted
        on counted.source_relation = days.source_relation
        and counted.list_id = days.list_id
        and counted.date_day = days.date_day
)

select
    *,
    added - removed as net
from known
