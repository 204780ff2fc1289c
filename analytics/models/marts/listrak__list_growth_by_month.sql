with months as (
    select
        list_id,
        max(list_name) as list_name,
        cast({{ dbt.date_trunc('month', 'date_day') }} as date) as date_month,
        sum(added) as added,
        sum(removed) as removed,
        sum(net) as net
    from {{ ref('listrak__list_growth') }}
    group by list_id, cast({{ dbt.date_trunc('month', 'date_day') }} as date)
),

subscribers as (
    select list_id, count(*) as subscribers
    from {{ ref('listrak__current_subscribers') }}
    group by list_id
),

-- Only the present number is known, so that of each month's end is counted back from it.
counted as (
    select
        months.list_id,
        months.list_name,
        months.date_month,
        months.added,
        months.removed,
        months.net,
        coalesce(subscribers.subscribers, 0)
        - sum(months.net) over (partition by months.list_id)
        + sum(months.net) over (
            partition by months.list_id
            order by months.date_month
            rows between unbounded preceding and current row
        ) as subscribers_at_end
    from months
    left join subscribers on subscribers.list_id = months.list_id
)

select
    list_id,
    list_name,
    date_month,
    added,
    removed,
    net,
    subscribers_at_end,
    1.0 * removed / nullif(subscribers_at_end - net, 0) as churn_rate
from counted
