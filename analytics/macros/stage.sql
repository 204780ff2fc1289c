{#
    Select the columns of a source table: renamed, typed, with instants in UTC, each row once.

    key: names or expressions that identify a row; the latest version is kept. Rows arrive more than
    once after a sync that appends, and when a report grew while its pages were read.
    columns: list of (name, column of the table, kind); the kinds are those of `typed`. A table
    that is not replicated (see `listrak_missing_tables`) gives no rows.
#}
{% macro stage(table, key, columns) %}
{%- set missing = table in var('listrak_missing_tables') -%}
with typed as (
    select
    {%- for name, column, kind in columns + [('extracted_at', '_airbyte_extracted_at', 'instant')] %}
        {{ listrak.typed('null' if missing else listrak.source_column(column), kind) }} as {{ name }}
        {%- if not loop.last %},{% endif %}
    {%- endfor %}
    {% if missing -%}
    from (select 1 as placeholder) as no_rows
    where placeholder = 0
    {%- else -%}
    from {{ source('listrak', table) }}
    {%- endif %}
),

versions as (
    select
        *,
        row_number() over (partition by {{ key | join(', ') }} order by extracted_at desc) as version
    from typed
)

select
    {%- for name, _, _ in columns %}
    {{ name }},
    {%- endfor %}
    extracted_at
from versions
where version = 1
{% endmacro %}


{# Name a column as Airbyte's destination created it: only Postgres has to be told the case. #}
{% macro source_column(name) %}{{ return(adapter.dispatch('source_column', 'listrak')(name)) }}{% endmacro %}

{% macro default__source_column(name) %}{{ return(name) }}{% endmacro %}

{% macro postgres__source_column(name) %}{{ return(adapter.quote(name)) }}{% endmacro %}

{# dbt-redshift inherits from dbt-postgres, but the Redshift destination writes lower case. #}
{% macro redshift__source_column(name) %}{{ return(name) }}{% endmacro %}


{#
    Cast an expression.

    kind: integer, decimal, string, email (in lower case), instant, or text_instant, which is an
    instant that Listrak types as text: what the connector could not read as a date becomes null.
#}
{% macro typed(expression, kind) %}
{%- if kind == 'integer' -%}
    cast({{ expression }} as {{ dbt.type_bigint() }})
{%- elif kind == 'decimal' -%}
    cast({{ expression }} as {{ dbt.type_numeric() }})
{%- elif kind == 'string' -%}
    cast({{ expression }} as {{ listrak.string_type() }})
{%- elif kind == 'email' -%}
    lower(cast({{ expression }} as {{ listrak.string_type() }}))
{%- elif kind == 'instant' -%}
    {{ listrak.utc(expression) }}
{%- elif kind == 'text_instant' -%}
    case
        when cast({{ expression }} as {{ listrak.string_type() }}) like '____-__-__T__:__:__%Z'
            then {{ listrak.utc(expression) }}
    end
{%- else -%}
    {{ exceptions.raise_compiler_error('stage: unknown kind ' ~ kind) }}
{%- endif -%}
{% endmacro %}


{# Name the type of text of any length. #}
{% macro string_type() %}{{ return(adapter.dispatch('string_type', 'listrak')()) }}{% endmacro %}

{% macro default__string_type() %}{{ return(dbt.type_string()) }}{% endmacro %}

{# A cast to Redshift's text cuts at 256 bytes. #}
{% macro redshift__string_type() %}{{ return('varchar(max)') }}{% endmacro %}


{# Return an instant in UTC, as the warehouse's timestamp without a time zone. #}
{% macro utc(expression) %}{{ return(adapter.dispatch('utc', 'listrak')(expression)) }}{% endmacro %}

{% macro default__utc(expression) -%}
cast({{ expression }} as timestamp with time zone) at time zone 'UTC'
{%- endmacro %}

{% macro snowflake__utc(expression) -%}
cast(convert_timezone('UTC', cast({{ expression }} as timestamp_tz)) as timestamp_ntz)
{%- endmacro %}

{# A TIMESTAMP of BigQuery is an instant; it has no zone to convert. #}
{% macro bigquery__utc(expression) -%}
cast({{ expression }} as timestamp)
{%- endmacro %}
