select
    links.source_relation,
    messages.mail_type,
    links.message_id,
    {{ listrak.typed('null', 'integer') }} as conversation_id,
    messages.subject,
    links.link_id,
    links.url,
    links.link_type,
    links.description,
    links.clicks,
    links.clickers,
    {{ listrak.rate('links.clickers', 'messages.delivered') }} as click_rate
from {{ ref('stg_listrak__message_links') }} as links
left join {{ ref('listrak__messages') }} as messages
    on messages.source_relation = links.source_relation
    and messages.message_id = links.message_id
left join {{ ref('int_listrak__automated_messages') }} as automated
    on automated.source_relation = links.source_relation
    and automated.message_id = links.message_id
left join {{ ref('int_listrak__connections') }} as streams
    on streams.source_relation = links.source_relation
-- Where the links of conversations are replicated, those of their mail are below.
where automated.message_id is null or not streams.has_conversation_links

union all

select
    source_relation,
    'automated' as mail_type,
    message_id,
    conversation_id,
    subject,
    link_id,
    url,
    link_type,
    description,
    clicks,
    clickers,
    {{ listrak.typed('null', 'decimal') }} as click_rate
from {{ ref('stg_listrak__conversation_links') }}
