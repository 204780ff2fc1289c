-- Every event with its list, and each once where Listrak reports the mail of a conversation among the
-- messages, too.
with conversation_lists as (
    -- An id that two lists share says nothing about the list.
    select source_relation, conversation_id, min(list_id) as list_id
    from {{ ref('stg_listrak__conversations') }}
    group by source_relation, conversation_id
    having min(list_id) = max(list_id)
)

select
    events.event_id,
    events.source_relation,
    case when automated.message_id is null then events.mail_type else 'automated' end as mail_type,
    events.event,
    coalesce(events.conversation_id, automated.conversation_id) as conversation_id,
    events.message_id,
    case
        when events.mail_type = 'campaign' then messages.list_id
        else conversation_lists.list_id
    end as list_id,
    events.contact_id,
    events.email_address,
    case
        when events.stream = 'message_sends' then messages.sent_at else events.occurred_at
    end as occurred_at,
    events.url,
    events.bounce_reason,
    events.extracted_at
from {{ ref('listrak__events') }} as events
inner join {{ ref('int_listrak__connections') }} as connections
    on connections.source_relation = events.source_relation
left join {{ ref('stg_listrak__messages') }} as messages
    on messages.source_relation = events.source_relation
    and messages.message_id = events.message_id
    and events.mail_type = 'campaign'
left join conversation_lists
    on conversation_lists.source_relation = events.source_relation
    and conversation_lists.conversation_id = events.conversation_id
left join {{ ref('int_listrak__automated_messages') }} as automated
    on automated.source_relation = events.source_relation
    and automated.message_id = events.message_id
    and events.mail_type = 'campaign'
where automated.message_id is null
    or case events.event
        when 'send' then not connections.has_conversation_sends
        when 'bounce' then not connections.has_conversation_bounces
        when 'open' then not connections.has_conversation_opens
        when 'read' then not connections.has_conversation_reads
        when 'unsubscribe' then not connections.has_conversation_unsubs
        else true
    end
