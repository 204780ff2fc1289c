{%- set shared = [
    'source_relation', 'mail_type', 'list_id', 'list_name', 'campaign_id', 'campaign_name', 'sent',
    'delivered', 'bounces', 'opens', 'reads', 'clicks', 'clickers', 'unsubscribes', 'complaints',
    'conversions', 'revenue',
] -%}
with mailings as (
    select {{ 'messages.' ~ shared | join(', messages.') }}, messages.sent_at as started_at
    from {{ ref('listrak__messages') }} as messages
    inner join {{ ref('int_listrak__connections') }} as streams
        on streams.source_relation = messages.source_relation
    -- Without message_analytics, it is not known which messages have no campaign.
    where messages.mail_type = 'campaign' and streams.has_message_analytics

    union all

    select {{ shared | join(', ') | replace('mail_type', "'automated' as mail_type") }}, published_at as started_at
    from {{ ref('listrak__automated_mail') }}
),

campaigns as (
    select
        source_relation,
        mail_type,
        list_id,
        max(list_name) as list_name,
        campaign_id,
        max(campaign_name) as campaign_name,
        min(started_at) as first_started_at,
        max(started_at) as last_started_at,
        count(*) as mailings,
    {%- for column in shared[6:] %}
        {{ listrak.whole_sum(column) }} as {{ column }}
        {%- if not loop.last %},{% endif %}
    {%- endfor %}
    from mailings
    group by source_relation, mail_type, list_id, campaign_id
)

select
    *,
    {{ listrak.rates() }},
    {{ listrak.rate('revenue', 'conversions') }} as average_order_value
from campaigns
