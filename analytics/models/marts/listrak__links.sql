select
    'campaign' as mail_type,
    links.message_id,
    {{ listrak.typed('null', 'integer') }} as conversation_id,
    messages.subject,
    links.link_id,
    links.url,
    links.link_type,
    links.description,
    links.clicks,
    links.clickers
from {{ ref('stg_listrak__message_links') }} as links
left join {{ ref('stg_listrak__messages') }} as messages
    on messages.message_id = links.message_id
left join {{ ref('int_listrak__conversation_messages') }} as automated
    on automated.message_id = links.message_id
where automated.message_id is null

union all

select
    'automated' as mail_type,
    message_id,
    conversation_id,
    subject,
    link_id,
    url,
    link_type,
    description,
    clicks,
    clickers
from {{ ref('stg_listrak__conversation_links') }}
