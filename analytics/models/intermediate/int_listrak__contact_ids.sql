-- The contact to whom an address of a list belongs, old addresses that list hygiene corrected included.
-- Where an address has had several contacts, it is the latest.
with known as (
    select source_relation, list_id, email_address, contact_id, extracted_at
    from {{ ref('stg_listrak__subscribed_contacts') }}

    union all

    select source_relation, list_id, email_address, contact_id, extracted_at
    from {{ ref('stg_listrak__list_removals') }}

    union all

    select source_relation, list_id, email_address, contact_id, extracted_at
    from {{ ref('stg_listrak__list_address_changes') }}

    union all

    select
        source_relation,
        list_id,
        old_email_address as email_address,
        coalesce(contact_id, email_address) as contact_id,
        extracted_at
    from {{ ref('stg_listrak__list_address_changes') }}

    union all

    -- Where the list is not known, an address is of one message.
    select
        source_relation,
        coalesce(list_id, -message_id) as list_id,
        email_address,
        contact_id,
        max(extracted_at) as extracted_at
    from {{ ref('int_listrak__mail_events') }}
    group by source_relation, coalesce(list_id, -message_id), email_address, contact_id
),

ranked as (
    select
        source_relation,
        list_id,
        email_address,
        contact_id,
        row_number() over (
            partition by source_relation, list_id, email_address
            order by extracted_at desc, contact_id desc
        ) as place
    from known
    where email_address is not null and contact_id is not null
)

select source_relation, list_id, email_address, contact_id
from ranked
where place = 1
