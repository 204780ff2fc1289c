-- Whether Listrak reports the mail of conversations among the messages, too, is not documented. Where
-- it does, these are left out of the campaigns, so that nothing counts twice.
select distinct message_id
from {{ ref('stg_listrak__conversation_sends') }}
