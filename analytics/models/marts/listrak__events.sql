{{ config(
    materialized='incremental',
    unique_key='event_id',
    on_schema_change='append_new_columns',
    post_hook='{{ listrak.delete_replaced_events() }}',
) }}
{%- set read = listrak.events_read() -%}

with recorded as (
{%- for connection in listrak.connections() %}
{%- set is_first = loop.first %}
{%- for stream in listrak.event_streams() %}
    {%- do source('listrak', stream.name) %}
    {%- set is_campaign = stream.name.startswith('message_') %}
    {%- set relation = listrak.stream_relation(connection, stream.name) %}
    {%- set columns = listrak.stream_columns(relation) %}
    {%- set extracted_at = listrak.column(columns, '_airbyte_extracted_at', 'instant') %}
    {%- set date_kind = 'text_instant' if is_campaign else 'instant' %}
    {%- set before = read.get((connection.name, stream.name)) %}
    {%- if not (is_first and loop.first) %}

    union all
    {%- endif %}

    select
        {{ dbt.string_literal(connection.name) }} as source_relation,
        '{{ stream.name }}' as stream,
        '{{ 'campaign' if is_campaign else 'automated' }}' as mail_type,
        '{{ stream.event }}' as event,
        {{ listrak.column(columns, none if is_campaign else 'ConversationID', 'integer') }} as conversation_id,
        {{ listrak.column(columns, 'MsgID', 'integer') }} as message_id,
        {{ listrak.column(columns, none if stream.name == 'message_sends' else 'ContactID', 'string') }} as contact_id,
        {{ listrak.column(columns, 'EmailAddress', 'string') }} as written_address,
        {{ listrak.column(columns, stream.get('date'), date_kind) }} as occurred_at,
        {{ listrak.column(columns, stream.get('date') if is_campaign else none, 'string') }} as written_date,
        {{ listrak.column(columns, stream.get('url'), 'string') }} as url,
        {{ listrak.column(columns, stream.get('bounce_reason'), 'string') }} as bounce_reason,
        {{ listrak.column(columns, none if is_campaign else 'Subject', 'string') }} as subject,
        {{ 1 if before and before.keeps_repeats else 0 }} as kept_repeats,
        {{ extracted_at }} as extracted_at
    {%- if relation is none %}
    from (select 1 as placeholder) as no_rows
    where placeholder = 0
    {%- else %}
    from {{ relation }}
    {%- if before %}
    where {{ extracted_at }} >= cast('{{ before.until }}' as {{ listrak.timestamp_type() }})
    {%- endif %}
    {%- endif %}
{%- endfor %}
{%- endfor %}
),

identified as (
    select
        *,
        lower(written_address) as email_address,
        {{ listrak.text_hash([
            'source_relation',
            'stream',
            'conversation_id',
            'message_id',
            'coalesce(contact_id, lower(written_address))',
            'coalesce(written_date, cast(occurred_at as ' ~ listrak.string_type() ~ '))',
            'url',
        ]) }} as event_id,
        -- Two events of one contact and message, in a table that keeps one for each address, are
        -- never there at the same time.
        case
            when kept_repeats = 1 then 1
            when event not in ('open', 'read', 'click') or written_address is null then 0
            when min(coalesce(written_date, '') || coalesce(url, '')) over (
                partition by source_relation, stream, message_id, written_address
            ) <> max(coalesce(written_date, '') || coalesce(url, '')) over (
                partition by source_relation, stream, message_id, written_address
            ) then 1
            else 0
        end as keeps_repeats
    from recorded
),

versions as (
    select
        *,
        row_number() over (partition by event_id order by extracted_at desc) as version
    from identified
)

select
    event_id,
    source_relation,
    stream,
    mail_type,
    event,
    conversation_id,
    message_id,
    contact_id,
    email_address,
    occurred_at,
    url,
    bounce_reason,
    subject,
    keeps_repeats,
    extracted_at
from versions
where version = 1
