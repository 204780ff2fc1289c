with months as (
    select
        source_relation,
        list_id,
        max(list_name) as list_name,
        cast({{ dbt.date_trunc('month', 'date_day') }} as date) as date_month,
        {{ listrak.whole_sum('added') }} as added,
        {{ listrak.whole_sum('removed') }} as removed,
        {{ listrak.whole_sum('net') }} as net
    from {{ ref('listrak__list_growth') }}
    group by source_relation, list_id, cast({{ dbt.date_trunc('month', 'date_day') }} as date)
),

subscribers as (
    select source_relation, list_id, count(*) as subscribers
    from {{ ref('listrak__contacts') }}
    where is_subscribed
    group by source_relation, list_id
),

-- Only the present number is known, so that of each month's end is counted back from it.
counted as (
    select
        months.*,
        coalesce(subscribers.subscribers, 0)
        - sum(months.net) over (partition by months.source_relation, months.list_id)
        + sum(months.net) over (
            partition by months.source_relation, months.list_id
            order by months.date_month
            rows between unbounded preceding and current row
        ) as subscribers_at_end
    from months
    left join subscribers
        on subscribers.source_relation = months.source_relation
        and subscribers.list_id = months.list_id
)

select
    *,
    {{ listrak.rate('removed', '(subscribers_at_end - net)') }} as churn_rate
from counted
