{#- One row per connection: which streams it replicates, and what their tables can answer. -#}
{%- set streams = [
    'lists', 'campaigns', 'messages', 'message_deliveries', 'message_analytics', 'message_links',
    'subscribed_contacts', 'list_removals', 'list_address_changes', 'conversations',
    'conversation_deliveries', 'conversation_links', 'abuse_complaints',
] + listrak.event_streams() | map(attribute='name') | list -%}
with connections as (
{%- for connection in listrak.connections() %}
    {%- set missing = [] %}
    select
        {{ dbt.string_literal(connection.name) }} as source_relation
    {%- for stream in streams %}
        {%- set is_replicated = listrak.stream_relation(connection, stream) is not none %}
        {%- do missing.append(stream) if not is_replicated %},
        {{ is_replicated | lower }} as has_{{ stream }}
    {%- endfor %}
    {%- if execute and missing | length == streams | length %}
        {{ exceptions.raise_compiler_error(
            'No table of Listrak is in the schema ' ~ connection.schema ~ ' of ' ~ connection.database
            ~ ': check listrak_schema, listrak_database, listrak_prefix and listrak_connections.'
        ) }}
    {%- elif execute and missing and flags.WHICH in ('build', 'run') %}
        {%- do log(
            'Listrak streams not replicated in ' ~ connection.name
            ~ ', so that what they answer is null: ' ~ missing | join(', '), info=true
        ) %}
    {%- endif %}
    {%- if not loop.last %}

    union all
    {%- endif %}
{%- endfor %}
),

kept as (
    select
        source_relation,
        max(case when stream = 'message_opens' then keeps_repeats else 0 end) as opens,
        max(case when stream = 'message_reads' then keeps_repeats else 0 end) as reads,
        max(case when stream = 'message_clicks' then keeps_repeats else 0 end) as clicks
    from {{ ref('listrak__events') }}
    group by source_relation
)

select
    connections.source_relation,
{%- for stream in streams %}
    connections.has_{{ stream }},
{%- endfor %}
{%- for events in ['opens', 'reads', 'clicks'] %}
    {%- if var('listrak_repeated_events') == 'auto' %}
    connections.has_message_{{ events }} and coalesce(kept.{{ events }}, 0) = 1 as has_every_{{ events }}
    {%- else %}
    connections.has_message_{{ events }} and {{ var('listrak_repeated_events') | lower }} as has_every_{{ events }}
    {%- endif %}
    {%- if not loop.last %},{% endif %}
{%- endfor %}
from connections
left join kept on kept.source_relation = connections.source_relation
