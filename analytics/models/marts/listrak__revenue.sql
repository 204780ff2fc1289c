-- A message that Listrak also reports as the mail of a conversation is in its conversation's revenue.
with mailings as (
    select
        source_relation,
        'campaign' as mail_type,
        message_id as mailing_id,
        subject as mailing_name,
        sent_at as started_at,
        list_id,
        list_name,
        campaign_id,
        campaign_name,
        delivered,
        clicks,
        conversions,
        revenue
    from {{ ref('listrak__messages') }}
    where mail_type = 'campaign'

    union all

    select
        source_relation,
        'automated' as mail_type,
        conversation_id as mailing_id,
        conversation_name as mailing_name,
        published_at as started_at,
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
    *,
    {{ listrak.rate('conversions', 'delivered') }} as conversion_rate,
    {{ listrak.rate('revenue', 'delivered') }} as revenue_per_delivered,
    {{ listrak.rate('revenue', 'conversions') }} as average_order_value
from mailings
