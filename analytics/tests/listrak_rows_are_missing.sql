{{ config(severity='warn') }}
-- Warn of rows that Listrak counts and that have not arrived, once every sync has had its chance:
-- a message of 30 days ago or more is read together with its counters, anything within a week.
-- Subscribers are left out: those who subscribed before the connection's start date never arrive.
select *
from {{ ref('listrak__completeness') }}
where missing > 0
    and measure <> 'subscribers'
    and (
        sent_at < {{ listrak.moved('day', -30, 'counted_at') }}
        or missing_since < {{ listrak.moved('day', -8, 'counted_at') }}
    )
