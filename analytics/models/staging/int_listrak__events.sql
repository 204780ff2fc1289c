{# One row per event of a contact: sends, bounces, opens, reads, clicks and unsubscribes. #}
{%- set events = [
    ('bounce', 'bounces', 'bounced_at'),
    ('open', 'opens', 'opened_at'),
    ('read', 'reads', 'read_at'),
    ('unsubscribe', 'unsubs', 'unsubscribed_at'),
] -%}

with events as (
    select
        'campaign' as mail_type,
        'send' as event,
        sends.message_id,
        {{ listrak.typed('null', 'integer') }} as conversation_id,
        {{ listrak.typed('null', 'string') }} as contact_id,
        sends.email_address,
        messages.sent_at as occurred_at
    from {{ ref('stg_listrak__message_sends') }} as sends
    left join {{ ref('stg_listrak__messages') }} as messages on messages.message_id = sends.message_id

    union all

    select
        'automated' as mail_type,
        'send' as event,
        message_id,
        conversation_id,
        contact_id,
        email_address,
        sent_at as occurred_at
    from {{ ref('stg_listrak__conversation_sends') }}

    union all

    -- Listrak does not report who clicked in automated mail.
    select
        'campaign' as mail_type,
        'click' as event,
        message_id,
        {{ listrak.typed('null', 'integer') }} as conversation_id,
        contact_id,
        email_address,
        clicked_at as occurred_at
    from {{ ref('stg_listrak__message_clicks') }}

{%- for event, table, date in events %}

    union all

    select
        'campaign' as mail_type,
        '{{ event }}' as event,
        message_id,
        {{ listrak.typed('null', 'integer') }} as conversation_id,
        contact_id,
        email_address,
        {{ date }} as occurred_at
    from {{ ref('stg_listrak__message_' ~ table) }}

    union all

    select
        'automated' as mail_type,
        '{{ event }}' as event,
        message_id,
        conversation_id,
        contact_id,
        email_address,
        {{ date }} as occurred_at
    from {{ ref('stg_listrak__conversation_' ~ table) }}
{%- endfor %}
)

select
    events.mail_type,
    events.event,
    events.message_id,
    events.conversation_id,
    events.contact_id,
    events.email_address,
    events.occurred_at
from events
left join {{ ref('int_listrak__conversation_messages') }} as automated
    on automated.message_id = events.message_id
    and events.mail_type = 'campaign'
where automated.message_id is null
