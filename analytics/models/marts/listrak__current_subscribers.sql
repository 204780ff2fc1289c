with removals as (
    select list_id, contact_id, max(removed_at) as last_removed_at
    from {{ ref('stg_listrak__list_removals') }}
    group by list_id, contact_id
)

select
    contacts.list_id,
    lists.list_name,
    contacts.contact_id,
    contacts.email_address,
    contacts.subscribed_at,
    contacts.addition_method,
    removals.last_removed_at
from {{ ref('stg_listrak__subscribed_contacts') }} as contacts
left join {{ ref('stg_listrak__lists') }} as lists
    on lists.list_id = contacts.list_id
left join removals
    on removals.list_id = contacts.list_id
    and removals.contact_id = contacts.contact_id
-- Listrak reports only contacts that are subscribed when it is asked, and subscribed_at does not
-- change when a contact returns. So the row proves a subscription at extracted_at, and a removal
-- before that was followed by a return.
where removals.last_removed_at is null or removals.last_removed_at < contacts.extracted_at
