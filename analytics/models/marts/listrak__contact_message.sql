{{ config(materialized='view') }}
select
    mail.source_relation,
    mail.message_id,
    mail.contact_key,
    mail.contact_id,
    mail.email_address,
    mail.list_id,
    messages.subject,
    messages.sent_at,
    case when streams.has_message_sends then mail.sends > 0 end as was_sent,
    case when streams.has_message_bounces then mail.bounced = 1 end as was_bounced,
    mail.bounce_reason,
    case when streams.has_message_opens then mail.opens > 0 end as was_opened,
    case when streams.has_message_reads then mail.reads > 0 end as was_read,
    case when streams.has_message_clicks then mail.clicks > 0 end as was_clicked,
    case when streams.has_message_unsubs then mail.unsubscribes > 0 end as was_unsubscribed,
    case when streams.has_every_opens then mail.opens end as opens,
    case when streams.has_every_reads then mail.reads end as reads,
    case when streams.has_every_clicks then mail.clicks end as clicks,
    case when streams.has_every_opens then mail.first_opened_at end as first_opened_at,
    mail.last_opened_at,
    case when streams.has_every_clicks then mail.first_clicked_at end as first_clicked_at,
    mail.last_clicked_at,
    mail.unsubscribed_at,
    case
        when streams.has_every_opens
            then {{ listrak.hours_between('messages.sent_at', 'mail.first_opened_at') }}
    end as hours_to_open,
    case
        when streams.has_every_clicks
            then {{ listrak.hours_between('messages.sent_at', 'mail.first_clicked_at') }}
    end as hours_to_click
from {{ ref('int_listrak__contact_mail') }} as mail
inner join {{ ref('int_listrak__connections') }} as streams
    on streams.source_relation = mail.source_relation
left join {{ ref('stg_listrak__messages') }} as messages
    on messages.source_relation = mail.source_relation
    and messages.message_id = mail.message_id
where mail.mail_type = 'campaign' and mail.contact_key is not null
