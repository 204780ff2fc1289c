with mail as (
    select
        'campaign' as mail_type,
        list_id,
        list_name,
        campaign_id,
        campaign_name,
        delivered,
        clicks,
        conversions,
        revenue
    from {{ ref('listrak__campaigns') }}

    union all

    select
        'automated' as mail_type,
        list_id,
        list_name,
        campaign_id,
        campaign_name,
        delivered,
        clicks,
        conversions,
        revenue
    from {{ ref('listrak__automated_mail') }}
)

select
    mail_type,
    list_id,
    max(list_name) as list_name,
    campaign_id,
    max(campaign_name) as campaign_name,
    count(*) as mailings,
    sum(delivered) as delivered,
    sum(clicks) as clicks,
    sum(conversions) as conversions,
    sum(revenue) as revenue,
    1000.0 * sum(revenue) / nullif(sum(delivered), 0) as revenue_per_thousand,
    1.0 * sum(revenue) / nullif(sum(conversions), 0) as average_order_value
from mail
group by mail_type, list_id, campaign_id
