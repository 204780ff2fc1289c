-- Whether Listrak also reports the mail of conversations among the messages is not documented. Only a
-- message with the id, the list and the subject of a conversation's mail is taken for it: an equal
-- id alone may be a coincidence.
with conversation_lists as (
    select source_relation, conversation_id, list_id
    from {{ ref('stg_listrak__conversations') }}
),

mail as (
    select source_relation, conversation_id, message_id, subject
    from {{ ref('listrak__events') }}
    where mail_type = 'automated'
    group by source_relation, conversation_id, message_id, subject
)

select
    messages.source_relation,
    messages.message_id,
    min(mail.conversation_id) as conversation_id
from mail
inner join conversation_lists
    on conversation_lists.source_relation = mail.source_relation
    and conversation_lists.conversation_id = mail.conversation_id
inner join {{ ref('stg_listrak__messages') }} as messages
    on messages.source_relation = mail.source_relation
    and messages.message_id = mail.message_id
    and messages.list_id = conversation_lists.list_id
    and coalesce(messages.subject, '') = coalesce(mail.subject, '')
group by messages.source_relation, messages.message_id
