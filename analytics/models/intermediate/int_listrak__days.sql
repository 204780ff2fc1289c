-- Every day from 1995, when there was no Listrak yet, to 2094.
with digits as (
    select 0 as n
    {%- for n in range(1, 10) %}
    union all
    select {{ n }}
    {%- endfor %}
),

numbers as (
    select ones.n + 10 * tens.n + 100 * hundreds.n + 1000 * thousands.n + 10000 * more.n as number
    from digits as ones
    cross join digits as tens
    cross join digits as hundreds
    cross join digits as thousands
    cross join digits as more
    where more.n < 4
)

select cast({{ listrak.moved('day', 'number', "cast('1995-01-01' as date)") }} as date) as date_day
from numbers
where number < 36525
