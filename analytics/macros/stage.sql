{#
    Select the columns of a stream from all connections: renamed, typed, with instants in UTC, each
    row once. A stream that is not replicated gives no rows.

    key: names or expressions that identify a row; the latest version is kept. Rows arrive more than
    once after a sync that appends, and when a report grew while its pages were read.
    columns: list of (name, column of the table, kind); for the kinds see `typed`
#}
{% macro stage(stream, key, columns) %}
{#- For the lineage: the relations are looked up in each connection. -#}
{%- do source('listrak', stream) -%}
with typed as (
{%- for connection in listrak.connections() %}
    {%- set relation = listrak.stream_relation(connection, stream) %}
    {%- set found = listrak.stream_columns(relation) %}
    select
        {{ dbt.string_literal(connection.name) }} as source_relation,
    {%- for name, column, kind in columns %}
        {{ listrak.column(found, column, kind) }} as {{ name }},
    {%- endfor %}
        {{ listrak.column(found, '_airbyte_extracted_at', 'instant') }} as extracted_at
    {% if relation is none -%}
    from (select 1 as placeholder) as no_rows
    where placeholder = 0
    {%- else -%}
    from {{ relation }}
    {%- endif %}
    {%- if not loop.last %}

    union all
    {%- endif %}
{%- endfor %}
),

versions as (
    select
        *,
        row_number() over (
            partition by source_relation, {{ key | join(', ') }} order by extracted_at desc
        ) as version
    from typed
)

select
    source_relation,
    {%- for name, _, _ in columns %}
    {{ name }},
    {%- endfor %}
    extracted_at
from versions
where version = 1
{% endmacro %}
