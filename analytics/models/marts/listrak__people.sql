with people as (
    select
        coalesce(email_address, contact_key) as person_key,
        max(email_address) as email_address,
        count(*) as lists,
        case
            when max(case when is_subscribed then 1 else 0 end) = 1 then true
            when count(is_subscribed) = count(*) then false
        end as is_subscribed,
        case
            when count(is_subscribed) = count(*) then sum(case when is_subscribed then 1 else 0 end)
        end as subscribed_lists,
        min(subscribed_at) as first_subscribed_at,
        max(last_removed_at) as last_removed_at,
    {%- for column in [
        'campaign_messages', 'automated_messages', 'campaign_bounces', 'campaign_opened',
        'campaign_clicked',
    ] %}
        {{ listrak.whole_sum(column) }} as {{ column }},
    {%- endfor %}
        max(last_campaign_sent_at) as last_campaign_sent_at,
        max(last_campaign_opened_at) as last_campaign_opened_at,
        max(last_campaign_clicked_at) as last_campaign_clicked_at
    from {{ ref('listrak__contacts') }}
    group by coalesce(email_address, contact_key)
)

select
    *,
    {{ listrak.rate('campaign_opened', 'campaign_messages') }} as campaign_open_rate,
    {{ listrak.rate('campaign_clicked', 'campaign_messages') }} as campaign_click_rate
from people
