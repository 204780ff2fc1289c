{#
    Cast an expression.

    kind: integer, decimal, string, email (in lower case), instant, or text_instant, which is an
    instant that Listrak types as text: what the connector could not read as a date becomes null.
    type: the column's type in the database, where it is known
#}
{% macro typed(expression, kind, type='') %}
{%- if kind == 'integer' -%}
    {{ return('cast(' ~ expression ~ ' as ' ~ dbt.type_bigint() ~ ')') }}
{%- elif kind == 'decimal' -%}
    {{ return('cast(' ~ expression ~ ' as ' ~ dbt.type_numeric() ~ ')') }}
{%- elif kind == 'string' -%}
    {{ return('cast(' ~ expression ~ ' as ' ~ listrak.string_type() ~ ')') }}
{%- elif kind == 'email' -%}
    {{ return('lower(cast(' ~ expression ~ ' as ' ~ listrak.string_type() ~ '))') }}
{%- elif expression == 'null' -%}
    {{ return('cast(null as ' ~ listrak.timestamp_type() ~ ')') }}
{%- elif kind == 'text_instant' and not type.startswith('timestamp') -%}
    {{ return(listrak.utc_of_text(expression)) }}
{%- else -%}
    {{ return(listrak.utc(expression, type)) }}
{%- endif -%}
{% endmacro %}


{# Name the type of text of any length. #}
{% macro string_type() %}{{ return(adapter.dispatch('string_type', 'listrak')()) }}{% endmacro %}

{% macro default__string_type() %}{{ return(dbt.type_string()) }}{% endmacro %}

{# A cast to Redshift's text cuts at 256 bytes. #}
{% macro redshift__string_type() %}{{ return('varchar(max)') }}{% endmacro %}


{# Name the type of every instant in the models: UTC, without a time zone. #}
{% macro timestamp_type() %}{{ return(adapter.dispatch('timestamp_type', 'listrak')()) }}{% endmacro %}

{% macro default__timestamp_type() %}{{ return('timestamp') }}{% endmacro %}

{% macro snowflake__timestamp_type() %}{{ return('timestamp_ntz') }}{% endmacro %}

{% macro databricks__timestamp_type() %}{{ return('timestamp_ntz') }}{% endmacro %}


{#
    Return an instant in UTC, whatever the session's time zone. A timestamp without a time zone,
    as PyAirbyte writes it, is in UTC already; a cast would take it for one of the session's zone.
#}
{% macro utc(expression, type='') %}
{%- set instants = ['bigquery', 'databricks', 'spark'] -%}
{%- if 'ntz' in type or 'without' in type or type == 'datetime'
    or (type == 'timestamp' and target.type not in instants) -%}
    {{ return('cast(' ~ expression ~ ' as ' ~ listrak.timestamp_type() ~ ')') }}
{%- endif -%}
{{ return(adapter.dispatch('utc', 'listrak')(expression)) }}
{% endmacro %}

{% macro default__utc(expression) %}
{{ return('cast(' ~ expression ~ " as timestamp with time zone) at time zone 'UTC'") }}
{% endmacro %}

{% macro snowflake__utc(expression) %}
{{ return("cast(convert_timezone('UTC', cast(" ~ expression ~ ' as timestamp_tz)) as timestamp_ntz)') }}
{% endmacro %}

{# A TIMESTAMP of BigQuery is an instant; it has no zone to convert. #}
{% macro bigquery__utc(expression) %}
{{ return('cast(' ~ expression ~ ' as timestamp)') }}
{% endmacro %}

{# With two arguments, the zone converted from is that of the session, in which the cast is done. #}
{% macro databricks__utc(expression) %}
{{ return("convert_timezone('UTC', cast(cast(" ~ expression ~ ' as timestamp) as timestamp_ntz))') }}
{% endmacro %}


{# Return an instant of a text such as 2024-02-01T12:00:00.000000Z; null for any other text. #}
{% macro utc_of_text(expression) %}
{%- set text = 'cast(' ~ expression ~ ' as ' ~ listrak.string_type() ~ ')' -%}
{%- set instant = adapter.dispatch('parsed', 'listrak')(text) -%}
{{ return('case when ' ~ text ~ " like '____-__-__T__:__:__%Z' then " ~ instant ~ ' end') }}
{% endmacro %}

{% macro default__parsed(text) %}
{{ return('try_cast(' ~ text ~ " as timestamp with time zone) at time zone 'UTC'") }}
{% endmacro %}

{# Postgres can only cast, so a text that is no date must not get that far. #}
{% macro postgres__parsed(text) %}
{{ return("case when " ~ text ~ " ~ '^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3])(:[0-5][0-9]){2}([.][0-9]+)?Z$'"
    ~ " then case when cast(substr(" ~ text ~ ", 9, 2) as integer)"
    ~ " <= extract(day from cast(substr(" ~ text ~ ", 1, 8) || '01' as date) + interval '1 month' - interval '1 day')"
    ~ " then cast(" ~ text ~ " as timestamp with time zone) at time zone 'UTC' end end") }}
{% endmacro %}

{% macro redshift__parsed(text) %}
{{ return('try_cast(' ~ text ~ " as timestamp with time zone) at time zone 'UTC'") }}
{% endmacro %}

{% macro snowflake__parsed(text) %}
{{ return("cast(convert_timezone('UTC', try_cast(" ~ text ~ ' as timestamp_tz)) as timestamp_ntz)') }}
{% endmacro %}

{% macro bigquery__parsed(text) %}
{{ return('safe_cast(' ~ text ~ ' as timestamp)') }}
{% endmacro %}

{% macro databricks__parsed(text) %}
{{ return("convert_timezone('UTC', cast(try_cast(" ~ text ~ ' as timestamp) as timestamp_ntz))') }}
{% endmacro %}


{# Return the day of an instant (UTC) in the time zone of reports, `listrak_timezone`. #}
{% macro local_day(instant) %}
{%- set zone = var('listrak_timezone') -%}
{%- if zone == 'UTC' -%}
    {{ return('cast(' ~ instant ~ ' as date)') }}
{%- endif -%}
{{ return('cast(' ~ adapter.dispatch('local', 'listrak')(instant, zone) ~ ' as date)') }}
{% endmacro %}

{% macro default__local(instant, zone) %}
{{ return("convert_timezone('UTC', '" ~ zone ~ "', " ~ instant ~ ')') }}
{% endmacro %}

{% macro duckdb__local(instant, zone) %}
{{ return('((' ~ instant ~ " at time zone 'UTC') at time zone '" ~ zone ~ "')") }}
{% endmacro %}

{% macro postgres__local(instant, zone) %}
{{ return('((' ~ instant ~ " at time zone 'UTC') at time zone '" ~ zone ~ "')") }}
{% endmacro %}

{% macro redshift__local(instant, zone) %}
{{ return("convert_timezone('UTC', '" ~ zone ~ "', " ~ instant ~ ')') }}
{% endmacro %}

{% macro bigquery__local(instant, zone) %}
{{ return('datetime(' ~ instant ~ ", '" ~ zone ~ "')") }}
{% endmacro %}


{# Return a hash of values, as text. #}
{% macro text_hash(values) %}
{%- set texts = [] -%}
{%- for value in values -%}
    {%- do texts.append('coalesce(cast(' ~ value ~ ' as ' ~ listrak.string_type() ~ "), '')") -%}
{%- endfor -%}
{%- set text = 'md5(' ~ texts | join(" || '|' || ") ~ ')' -%}
{{ return('to_hex(' ~ text ~ ')' if target.type == 'bigquery' else text) }}
{% endmacro %}


{#
    Return an instant or day moved by a number of days or minutes. dbt's own macros ask Databricks
    for its version, which compiling without a connection cannot.
#}
{% macro moved(part, number, start) %}
{%- if target.type == 'databricks' -%}
    {{ return('timestampadd(' ~ part ~ ', ' ~ number ~ ', ' ~ start ~ ')') }}
{%- endif -%}
{{ return(dbt.dateadd(part, number, start)) }}
{% endmacro %}


{# Return the hours from one instant to a later one, with two decimals. #}
{% macro hours_between(start, end) %}
{%- if target.type == 'databricks' -%}
    {%- set seconds = 'timestampdiff(second, ' ~ start ~ ', ' ~ end ~ ')' -%}
{%- else -%}
    {%- set seconds = dbt.datediff(start, end, 'second') -%}
{%- endif -%}
{{ return('round(cast(' ~ seconds ~ ' as ' ~ dbt.type_numeric() ~ ') / 3600, 2)') }}
{% endmacro %}
