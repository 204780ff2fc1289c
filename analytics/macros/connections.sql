{#
    Return the connections whose tables are combined, as a list of dictionaries with name (the value
    of source_relation), database, schema, and identifiers by stream.
#}
{% macro connections() %}
{%- set found = [] -%}
{%- for given in var('listrak_connections') or [{}] -%}
    {%- set schema = given.get('schema', var('listrak_schema')) -%}
    {%- set prefix = given.get('prefix', var('listrak_prefix')) -%}
    {%- do found.append({
        'name': given.get('name', schema ~ ('.' ~ prefix if prefix else '')),
        'database': given.get('database', var('listrak_database', target.database)),
        'schema': schema,
        'prefix': prefix,
        'identifiers': given.get('identifiers', var('listrak_identifiers')),
    }) -%}
{%- endfor -%}
{%- if found | map(attribute='name') | unique | list | length < found | length -%}
    {{ exceptions.raise_compiler_error('listrak_connections: give each connection a name of its own') }}
{%- endif -%}
{{ return(found) }}
{% endmacro %}


{# Return the relation of a stream in a connection, or none if it is not replicated. #}
{% macro stream_relation(connection, stream) %}
{%- set identifier = connection.identifiers.get(stream, connection.prefix ~ stream) -%}
{%- if not execute -%}
    {{ return(none) }}
{%- elif flags.INTROSPECT -%}
    {{ return(adapter.get_relation(connection.database, connection.schema, identifier)) }}
{%- else -%}
    {# Without a database to look into (dbt compile --no-introspect), every stream is expected. #}
    {{ return(api.Relation.create(
        database=connection.database, schema=connection.schema, identifier=identifier
    ).include(database=connection.database is not none)) }}
{%- endif -%}
{% endmacro %}


{#
    Return an expression for a column of a stream, cast to a kind (see `typed`). A column that is
    not replicated is null. Names are compared without case: Airbyte's destinations keep MsgID,
    and PyAirbyte writes msgid.

    columns: what `stream_columns` returned for the relation
#}
{% macro column(columns, name, kind) %}
{%- if columns is none or name is none -%}
    {{ return(listrak.typed('null', kind)) }}
{%- elif not flags.INTROSPECT -%}
    {{ return(listrak.typed(listrak.expected_column(name), kind)) }}
{%- endif -%}
{%- for column in columns if column.name | lower == name | lower -%}
    {{ return(listrak.typed(adapter.quote(column.name), kind, column.dtype | lower)) }}
{%- endfor -%}
{{ return(listrak.typed('null', kind)) }}
{% endmacro %}


{# Return the columns of a relation; none if there is no relation. #}
{% macro stream_columns(relation) %}
{%- if relation is none -%}
    {{ return(none) }}
{%- endif -%}
{{ return(adapter.get_columns_in_relation(relation) if flags.INTROSPECT else []) }}
{% endmacro %}


{# Name a column as Airbyte's destination creates it: only Postgres must be given the case. #}
{% macro expected_column(name) %}{{ return(adapter.dispatch('expected_column', 'listrak')(name)) }}{% endmacro %}

{% macro default__expected_column(name) %}{{ return(name) }}{% endmacro %}

{% macro postgres__expected_column(name) %}{{ return(adapter.quote(name)) }}{% endmacro %}

{# dbt-redshift inherits from dbt-postgres, but the Redshift destination writes lower case. #}
{% macro redshift__expected_column(name) %}{{ return(name) }}{% endmacro %}
