{#
    Select the rates of mail, named and defined alike in every model, from the columns sent,
    delivered, bounces, opens, reads, clickers, unsubscribes, complaints, conversions and revenue.
    What is not known of a model's mail is null.
#}
{% macro rates() %}
    {{ listrak.rate('delivered', 'sent') }} as delivery_rate,
    {{ listrak.rate('bounces', 'sent') }} as bounce_rate,
    {{ listrak.rate('opens', 'delivered') }} as open_rate,
    {{ listrak.rate('reads', 'delivered') }} as read_rate,
    {{ listrak.rate('clickers', 'delivered') }} as click_rate,
    {{ listrak.rate('clickers', 'opens') }} as click_to_open_rate,
    {{ listrak.rate('unsubscribes', 'delivered') }} as unsubscribe_rate,
    {{ listrak.rate('complaints', 'delivered') }} as complaint_rate,
    {{ listrak.rate('conversions', 'delivered') }} as conversion_rate,
    {{ listrak.rate('revenue', 'delivered') }} as revenue_per_delivered
{%- endmacro %}


{% macro rate(part, whole) %}{{ return('1.0 * ' ~ part ~ ' / nullif(' ~ whole ~ ', 0)') }}{% endmacro %}


{# Return a sum that is null if any part of it is: a partial sum would be a wrong number. #}
{% macro whole_sum(column) %}
{{ return('case when count(' ~ column ~ ') = count(*) then sum(' ~ column ~ ') end') }}
{% endmacro %}
