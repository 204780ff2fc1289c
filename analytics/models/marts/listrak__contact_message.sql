with contact_message as (
    select
        message_id,
        email_address,
        -- The recipients come without an id; the events of the same address have one.
        max(contact_id) as contact_id,
        {%- for event, name in [
            ('send', 'sent'),
            ('bounce', 'bounced'),
            ('open', 'opened'),
            ('read', 'read'),
            ('click', 'clicked'),
            ('unsubscribe', 'unsubscribed'),
        ] %}
        max(case when event = '{{ event }}' then 1 else 0 end) = 1 as was_{{ name }},
        {%- endfor %}
        min(case when event = 'open' then occurred_at end) as first_opened_at,
        min(case when event = 'click' then occurred_at end) as first_clicked_at,
        max(case when event = 'unsubscribe' then occurred_at end) as unsubscribed_at
    from {{ ref('int_listrak__events') }}
    where mail_type = 'campaign' and email_address is not null
    group by message_id, email_address
)

select
    contact_message.message_id,
    contact_message.email_address,
    contact_message.contact_id,
    messages.list_id,
    messages.sent_at,
    contact_message.was_sent,
    contact_message.was_bounced,
    contact_message.was_opened,
    contact_message.was_read,
    contact_message.was_clicked,
    contact_message.was_unsubscribed,
    contact_message.first_opened_at,
    contact_message.first_clicked_at,
    contact_message.unsubscribed_at
from contact_message
left join {{ ref('stg_listrak__messages') }} as messages
    on messages.message_id = contact_message.message_id
