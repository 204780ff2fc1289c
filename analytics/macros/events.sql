{#
    Return the streams of events, and the columns that each of them has. Recipients (message_sends)
    have no date: they were sent the message at its sent_at.
#}
{% macro event_streams() %}
{{ return([
    {'name': 'message_sends', 'event': 'send'},
    {'name': 'message_bounces', 'event': 'bounce', 'date': 'BounceDate', 'bounce_reason': 'BounceReason'},
    {'name': 'message_opens', 'event': 'open', 'date': 'OpenDate'},
    {'name': 'message_reads', 'event': 'read', 'date': 'ReadDate'},
    {'name': 'message_clicks', 'event': 'click', 'date': 'ClickDate', 'url': 'LinkUrl'},
    {'name': 'message_unsubs', 'event': 'unsubscribe', 'date': 'RemovalDate'},
    {'name': 'conversation_sends', 'event': 'send', 'date': 'SendDate'},
    {'name': 'conversation_bounces', 'event': 'bounce', 'date': 'BounceDate', 'bounce_reason': 'BounceReason'},
    {'name': 'conversation_opens', 'event': 'open', 'date': 'OpenDate'},
    {'name': 'conversation_reads', 'event': 'read', 'date': 'ReadDate'},
    {'name': 'conversation_unsubs', 'event': 'unsubscribe', 'date': 'RemoveDate'},
]) }}
{% endmacro %}


{# Select when the oldest row in the table of each stream of events was extracted. #}
{% macro oldest_events() %}
{%- for connection in listrak.connections() %}
{%- for stream in listrak.event_streams() %}
    {%- set relation = listrak.stream_relation(connection, stream.name) %}
    {%- set columns = listrak.stream_columns(relation) %}
    select
        {{ dbt.string_literal(connection.name) }} as source_relation,
        '{{ stream.name }}' as stream,
    {%- if relation is none %}
        {{ listrak.typed('null', 'instant') }} as oldest
    {%- else %}
        min({{ listrak.column(columns, '_airbyte_extracted_at', 'instant') }}) as oldest
    from {{ relation }}
    {%- endif %}
    {%- if not loop.last %}
    union all
    {%- endif %}
{%- endfor %}
    {%- if not loop.last %}
    union all
    {%- endif %}
{%- endfor %}
{% endmacro %}


{#
    Return what a previous build read of each stream of events, by (source_relation, stream): until
    which extraction, minus `listrak_lookback_hours`, and whether the table keeps repeated events.
    What the table does not hold any more, such as before a refresh of the stream, does not count.
#}
{% macro events_read() %}
{%- set found = {} -%}
{%- if execute and flags.INTROSPECT and is_incremental() -%}
    {%- set lookback = modules.datetime.timedelta(hours=var('listrak_lookback_hours')) -%}
    {%- set rows = run_query(
        'select events.source_relation, events.stream, max(events.extracted_at), max(events.keeps_repeats)'
        ~ ' from ' ~ this ~ ' as events inner join (' ~ listrak.oldest_events() ~ ') as oldest'
        ~ ' on oldest.source_relation = events.source_relation and oldest.stream = events.stream'
        ~ ' where events.extracted_at >= oldest.oldest'
        ~ ' group by events.source_relation, events.stream'
    ) -%}
    {%- for source_relation, stream, until, keeps_repeats in rows -%}
        {%- do found.update({(source_relation, stream): {
            'until': (until - lookback).strftime('%Y-%m-%d %H:%M:%S.%f'),
            'keeps_repeats': keeps_repeats == 1,
        }}) -%}
    {%- endfor -%}
{%- endif -%}
{{ return(found) }}
{% endmacro %}


{#
    Delete the events that were extracted before the oldest row in their table: the stream was
    cleared, refreshed or overwritten since, and what is still true of it was read again.
#}
{% macro delete_replaced_events() %}
{%- if execute and flags.INTROSPECT and is_incremental() -%}
delete from {{ this }}
where exists (
    select 1
    from ({{ listrak.oldest_events() }}) as oldest
    where oldest.source_relation = {{ this }}.source_relation
        and oldest.stream = {{ this }}.stream
        and oldest.oldest > {{ this }}.extracted_at
)
{%- endif -%}
{% endmacro %}
