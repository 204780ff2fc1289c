-- Fail where events are dated before their message was sent, or after they were extracted: as few
-- can be, since the sending of a message can take hours and its date is that of the last part.
select
    events.source_relation,
    events.event,
    count(*) as events,
    sum(
        case
            when events.occurred_at < {{ listrak.moved('minute', -15, 'messages.sent_at') }} then 1
            when events.occurred_at > {{ listrak.moved('minute', 15, 'events.extracted_at') }} then 1
            else 0
        end
    ) as impossible
from {{ ref('listrak__events') }} as events
inner join {{ ref('stg_listrak__messages') }} as messages
    on messages.source_relation = events.source_relation
    and messages.message_id = events.message_id
where events.mail_type = 'campaign' and events.occurred_at is not null
group by events.source_relation, events.event
having sum(
    case
        when events.occurred_at < {{ listrak.moved('minute', -15, 'messages.sent_at') }} then 1
        when events.occurred_at > {{ listrak.moved('minute', 15, 'events.extracted_at') }} then 1
        else 0
    end
) > 0.05 * count(*)
