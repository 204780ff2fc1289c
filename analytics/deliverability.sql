-- One row per mail provider (the domain of the recipients' addresses): how much arrives there.
CREATE VIEW deliverability AS
SELECT
    s.domain,
    s.sent,
    COALESCE(b.bounced, 0) AS bounced,
    COALESCE(b.bounced, 0) * 1.0 / s.sent AS bounce_rate
FROM (
    SELECT
        LOWER(SUBSTRING(EmailAddress FROM POSITION('@' IN EmailAddress) + 1)) AS domain,
        COUNT(*) AS sent
    FROM message_sends
    GROUP BY 1
) s
LEFT JOIN (
    -- A bounce counts once for each message and address, however often delivery was tried.
    SELECT domain, COUNT(*) AS bounced
    FROM (
        SELECT DISTINCT
            LOWER(SUBSTRING(EmailAddress FROM POSITION('@' IN EmailAddress) + 1)) AS domain,
            EmailAddress,
            MsgID
        FROM message_bounces
    ) d
    GROUP BY domain
) b ON b.domain = s.domain;
