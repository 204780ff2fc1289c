with keyed as (
    {%- for model, columns in [
        ('stg_listrak__subscribed_contacts', [
            'subscribed_at', 'addition_method', 'extracted_at as seen_subscribed_at',
            "cast(null as " ~ listrak.timestamp_type() ~ ") as removed_at",
            "cast(null as " ~ listrak.string_type() ~ ") as removal_method",
        ]),
        ('stg_listrak__list_removals', [
            'subscribed_at', "cast(null as " ~ listrak.string_type() ~ ") as addition_method",
            "cast(null as " ~ listrak.timestamp_type() ~ ") as seen_subscribed_at",
            'removed_at', 'removal_method',
        ]),
    ] %}
    select
        rows_of_list.source_relation,
        rows_of_list.list_id,
        coalesce(ids.contact_id, rows_of_list.contact_id, rows_of_list.email_address) as contact_key,
        rows_of_list.contact_id,
        rows_of_list.email_address,
    {%- for column in columns %}
        {{ column if column.startswith('cast') else 'rows_of_list.' ~ column }},
    {%- endfor %}
        rows_of_list.extracted_at
    from {{ ref(model) }} as rows_of_list
    left join {{ ref('int_listrak__contact_ids') }} as ids
        on ids.source_relation = rows_of_list.source_relation
        and ids.list_id = rows_of_list.list_id
        and ids.email_address = rows_of_list.email_address
    {%- if not loop.last %}

    union all
    {% endif %}
    {%- endfor %}
),

ranked as (
    select
        *,
        row_number() over (
            partition by source_relation, list_id, contact_key
            order by case when email_address is null then 1 else 0 end, extracted_at desc
        ) as address_rank,
        row_number() over (
            partition by source_relation, list_id, contact_key
            order by case when removed_at is null then 1 else 0 end, removed_at desc, extracted_at desc
        ) as removal_rank
    from keyed
),

subscriptions as (
    select
        source_relation,
        list_id,
        contact_key,
        max(contact_id) as contact_id,
        max(case when address_rank = 1 then email_address end) as email_address,
        min(subscribed_at) as subscribed_at,
        max(addition_method) as addition_method,
        max(seen_subscribed_at) as seen_subscribed_at,
        max(removed_at) as last_removed_at,
        max(case when removal_rank = 1 then removal_method end) as last_removal_method
    from ranked
    where contact_key is not null
    group by source_relation, list_id, contact_key
),

mail as (
    select
        source_relation,
        list_id,
        contact_key,
        max(contact_id) as contact_id,
        max(email_address) as email_address,
        sum(case when mail_type = 'campaign' and sends > 0 then 1 else 0 end) as campaign_messages,
        sum(case when mail_type = 'automated' then sends else 0 end) as automated_messages,
        sum(case when mail_type = 'campaign' then bounced else 0 end) as campaign_bounces,
        sum(case when mail_type = 'campaign' and opens > 0 then 1 else 0 end) as campaign_opened,
        sum(case when mail_type = 'campaign' and clicks > 0 then 1 else 0 end) as campaign_clicked,
        max(case when mail_type = 'campaign' then last_sent_at end) as last_campaign_sent_at,
        max(case when mail_type = 'campaign' then last_opened_at end) as last_campaign_opened_at,
        max(case when mail_type = 'campaign' then last_clicked_at end) as last_campaign_clicked_at
    from {{ ref('int_listrak__contact_mail') }}
    where contact_key is not null and list_id is not null
    group by source_relation, list_id, contact_key
),

contacts as (
    select
        coalesce(subscriptions.source_relation, mail.source_relation) as source_relation,
        coalesce(subscriptions.list_id, mail.list_id) as list_id,
        coalesce(subscriptions.contact_key, mail.contact_key) as contact_key,
        coalesce(subscriptions.contact_id, mail.contact_id) as contact_id,
        coalesce(subscriptions.email_address, mail.email_address) as email_address,
        subscriptions.subscribed_at,
        subscriptions.addition_method,
        subscriptions.seen_subscribed_at,
        subscriptions.last_removed_at,
        subscriptions.last_removal_method,
        coalesce(mail.campaign_messages, 0) as campaign_messages,
        coalesce(mail.automated_messages, 0) as automated_messages,
        coalesce(mail.campaign_bounces, 0) as campaign_bounces,
        coalesce(mail.campaign_opened, 0) as campaign_opened,
        coalesce(mail.campaign_clicked, 0) as campaign_clicked,
        mail.last_campaign_sent_at,
        mail.last_campaign_opened_at,
        mail.last_campaign_clicked_at
    from subscriptions
    full outer join mail
        on mail.source_relation = subscriptions.source_relation
        and mail.list_id = subscriptions.list_id
        and mail.contact_key = subscriptions.contact_key
)

select
    contacts.source_relation,
    contacts.list_id,
    lists.list_name,
    contacts.contact_key,
    contacts.contact_id,
    contacts.email_address,
    -- Listrak reports only contacts that are subscribed when it is asked, and subscribed_at does not
    -- change when a contact returns. So a row proves a subscription when it was extracted, and a
    -- removal before that was followed by a return.
    case
        when not (streams.has_subscribed_contacts and streams.has_list_removals) then null
        when contacts.seen_subscribed_at is null and contacts.last_removed_at is null then null
        when contacts.seen_subscribed_at is null then false
        when contacts.last_removed_at is null then true
        else contacts.last_removed_at < contacts.seen_subscribed_at
    end as is_subscribed,
    contacts.subscribed_at,
    contacts.addition_method,
    contacts.last_removed_at,
    contacts.last_removal_method,
    -- Mail is of a list by its message or conversation.
    {%- for column, needed in [
        ('campaign_messages', 'has_messages and streams.has_message_sends'),
        ('automated_messages', 'has_conversations and streams.has_conversation_sends'),
        ('campaign_bounces', 'has_messages and streams.has_message_bounces'),
        ('campaign_opened', 'has_messages and streams.has_message_opens'),
        ('campaign_clicked', 'has_messages and streams.has_message_clicks'),
    ] %}
    case when streams.{{ needed }} then contacts.{{ column }} end as {{ column }},
    {%- endfor %}
    contacts.last_campaign_sent_at,
    contacts.last_campaign_opened_at,
    contacts.last_campaign_clicked_at
from contacts
inner join {{ ref('int_listrak__connections') }} as streams
    on streams.source_relation = contacts.source_relation
left join {{ ref('stg_listrak__lists') }} as lists
    on lists.source_relation = contacts.source_relation
    and lists.list_id = contacts.list_id
