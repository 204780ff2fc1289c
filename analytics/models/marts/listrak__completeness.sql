{#- What the previous build found, for since when rows have been missing. -#}
{%- set previous = load_relation(this) if execute and flags.INTROSPECT else none -%}
with messages as (
    select
        source_relation,
        message_id,
        sum(case when sends > 0 and contact_key is not null then 1 else 0 end) as recipients,
        max(case when sends > 0 and contact_key is null then 1 else 0 end) as has_unknown,
        sum(case when opens > 0 then 1 else 0 end) as opened,
        sum(case when reads > 0 then 1 else 0 end) as was_read,
        sum(case when clicks > 0 then 1 else 0 end) as clicked,
        sum(clicks) as clicks,
        sum(case when bounce_rows > 0 then 1 else 0 end) as bounced,
        sum(case when unsubscribes > 0 then 1 else 0 end) as unsubscribed
    from {{ ref('int_listrak__contact_mail') }}
    where mail_type = 'campaign'
    group by source_relation, message_id
),

conversations as (
    select
        source_relation,
        list_id,
        conversation_id,
        sum(case when event = 'send' then 1 else 0 end) as sends,
        sum(case when event = 'bounce' then 1 else 0 end) as bounces,
        sum(case when event = 'open' then 1 else 0 end) as opens,
        sum(case when event = 'read' then 1 else 0 end) as reads,
        sum(case when event = 'unsubscribe' then 1 else 0 end) as unsubscribes
    from {{ ref('int_listrak__mail_events') }}
    where mail_type = 'automated' and list_id is not null
    group by source_relation, list_id, conversation_id
),

counters as (
    {%- for measure, counter, arrived, condition in [
        ('recipients', 'counted.delivered', 'messages.recipients',
            'has_message_sends and coalesce(messages.has_unknown, 0) = 0'),
        ('openers', 'counted.opens', 'messages.opened', 'has_message_opens'),
        ('readers', 'counted.reads', 'messages.was_read', 'has_message_reads'),
        ('clickers', 'counted.clickers', 'messages.clicked', 'has_message_clicks'),
        ('clicks', 'counted.clicks', 'messages.clicks', 'has_every_clicks'),
        ('bounced contacts', 'deliveries.bounces', 'messages.bounced', 'has_message_bounces'),
        ('unsubscribed contacts', 'counted.unsubscribes', 'messages.unsubscribed', 'has_message_unsubs'),
    ] %}
    select
        counted.source_relation,
        counted.list_id,
        counted.message_id,
        {{ listrak.typed('null', 'integer') }} as conversation_id,
        counted.sent_at,
        '{{ measure }}' as measure,
        {{ counter }} as counted,
        coalesce({{ arrived }}, 0) as arrived,
        {{ 'deliveries' if counter.startswith('deliveries') else 'counted' }}.extracted_at as counted_at
    from {{ ref('stg_listrak__messages') }} as counted
    inner join {{ ref('int_listrak__connections') }} as streams
        on streams.source_relation = counted.source_relation
    left join {{ ref('stg_listrak__message_deliveries') }} as deliveries
        on deliveries.source_relation = counted.source_relation
        and deliveries.message_id = counted.message_id
    left join {{ ref('int_listrak__automated_messages') }} as automated
        on automated.source_relation = counted.source_relation
        and automated.message_id = counted.message_id
    left join messages
        on messages.source_relation = counted.source_relation
        and messages.message_id = counted.message_id
    where streams.{{ condition }} and automated.message_id is null and {{ counter }} is not null

    union all
    {% endfor %}

    {%- for measure, counter, arrived, stream in [
        ('sends', 'deliveries.sent', 'sends', 'conversation_sends'),
        ('bounces', 'deliveries.bounces', 'bounces', 'conversation_bounces'),
        ('opens', 'counted.opens', 'opens', 'conversation_opens'),
        ('reads', 'counted.reads', 'reads', 'conversation_reads'),
        ('unsubscribes', 'counted.unsubscribes', 'unsubscribes', 'conversation_unsubs'),
    ] %}
    select
        counted.source_relation,
        counted.list_id,
        {{ listrak.typed('null', 'integer') }} as message_id,
        counted.conversation_id,
        {{ listrak.typed('null', 'instant') }} as sent_at,
        '{{ measure }}' as measure,
        {{ counter }} as counted,
        coalesce(conversations.{{ arrived }}, 0) as arrived,
        {{ 'deliveries' if counter.startswith('deliveries') else 'counted' }}.extracted_at as counted_at
    from {{ ref('stg_listrak__conversations') }} as counted
    inner join {{ ref('int_listrak__connections') }} as streams
        on streams.source_relation = counted.source_relation
    left join {{ ref('stg_listrak__conversation_deliveries') }} as deliveries
        on deliveries.source_relation = counted.source_relation
        and deliveries.list_id = counted.list_id
        and deliveries.conversation_id = counted.conversation_id
    inner join (
        select source_relation, conversation_id
        from {{ ref('stg_listrak__conversations') }}
        group by source_relation, conversation_id
        having min(list_id) = max(list_id)
    ) as unshared
        on unshared.source_relation = counted.source_relation
        and unshared.conversation_id = counted.conversation_id
    left join conversations
        on conversations.source_relation = counted.source_relation
        and conversations.list_id = counted.list_id
        and conversations.conversation_id = counted.conversation_id
    where streams.has_{{ stream }} and {{ counter }} is not null

    union all
    {% endfor %}

    -- Listrak has no count of a list's subscribers or removals. What it reports elsewhere of the same
    -- contacts is counted instead: those sent a message, and those who unsubscribed through one.
    {%- for measure, condition, arrived, needed in [
        ('subscribers', 'mail.sends > 0', 'contacts.subscribed_at is not null or contacts.last_removed_at is not null', 'has_message_sends and streams.has_subscribed_contacts and streams.has_list_removals'),
        ('removals', 'mail.unsubscribes > 0', 'contacts.last_removed_at is not null', 'has_message_unsubs and streams.has_list_removals'),
    ] %}
    select
        mail.source_relation,
        mail.list_id,
        {{ listrak.typed('null', 'integer') }} as message_id,
        {{ listrak.typed('null', 'integer') }} as conversation_id,
        {{ listrak.typed('null', 'instant') }} as sent_at,
        '{{ measure }}' as measure,
        count(*) as counted,
        sum(case when {{ arrived }} then 1 else 0 end) as arrived,
        max(mail.extracted_at) as counted_at
    from (
        select
            source_relation,
            list_id,
            contact_key,
            sum(sends) as sends,
            sum(unsubscribes) as unsubscribes,
            max(last_extracted_at) as extracted_at
        from {{ ref('int_listrak__contact_mail') }}
        where mail_type = 'campaign' and contact_key is not null and list_id is not null
        group by source_relation, list_id, contact_key
    ) as mail
    inner join {{ ref('int_listrak__connections') }} as streams
        on streams.source_relation = mail.source_relation
    left join {{ ref('listrak__contacts') }} as contacts
        on contacts.source_relation = mail.source_relation
        and contacts.list_id = mail.list_id
        and contacts.contact_key = mail.contact_key
    where streams.{{ needed }} and {{ condition }}
    group by mail.source_relation, mail.list_id
    {%- if not loop.last %}

    union all
    {% endif %}
    {%- endfor %}
),

compared as (
    select
        {{ listrak.text_hash([
            'counters.source_relation', 'counters.list_id', 'counters.message_id',
            'counters.conversation_id', 'counters.measure',
        ]) }} as completeness_id,
        counters.*,
        case when counters.counted > counters.arrived then counters.counted - counters.arrived else 0 end as missing
    from counters
)

select
    compared.completeness_id,
    compared.source_relation,
    compared.list_id,
    lists.list_name,
    compared.message_id,
    compared.conversation_id,
    compared.sent_at,
    compared.measure,
    compared.counted,
    compared.arrived,
    compared.arrived - compared.counted as difference,
    compared.missing,
    compared.counted_at,
    case
        when compared.missing = 0 then null
        {%- if previous is not none %}
        when previous.missing > 0 then previous.missing_since
        {%- endif %}
        else compared.counted_at
    end as missing_since
from compared
left join {{ ref('stg_listrak__lists') }} as lists
    on lists.source_relation = compared.source_relation
    and lists.list_id = compared.list_id
{%- if previous is not none %}
left join {{ previous }} as previous on previous.completeness_id = compared.completeness_id
{%- endif %}
