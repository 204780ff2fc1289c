with contacts as (
    select list_id, contact_id, subscribed_at
    from {{ ref('stg_listrak__subscribed_contacts') }}

    union all

    -- Those who left are not in subscribed_contacts when it is read in full.
    select list_id, contact_id, subscribed_at
    from {{ ref('stg_listrak__list_removals') }}
),

changes as (
    select list_id, cast(subscribed_at as date) as date_day, 1 as added, 0 as removed
    from contacts
    where subscribed_at is not null
    group by list_id, contact_id, subscribed_at

    union all

    select list_id, cast(removed_at as date) as date_day, 0 as added, 1 as removed
    from {{ ref('stg_listrak__list_removals') }}
    where removed_at is not null
)

select
    changes.list_id,
    max(lists.list_name) as list_name,
    changes.date_day,
    sum(changes.added) as added,
    sum(changes.removed) as removed,
    sum(changes.added) - sum(changes.removed) as net
from changes
left join {{ ref('stg_listrak__lists') }} as lists on lists.list_id = changes.list_id
group by changes.list_id, changes.date_day
