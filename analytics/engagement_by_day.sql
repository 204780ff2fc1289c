-- One row per day (UTC): what recipients did, whatever message they did it with.
--
-- Listrak types these dates as text. The connector writes those it can read as
-- YYYY-MM-DDTHH:MM:SS.ffffffZ; any other is left as it came, and left out here.
CREATE VIEW engagement_by_day AS
SELECT
    SUBSTRING(happened, 1, 10) AS day,
    SUM(CASE WHEN kind = 'open' THEN 1 ELSE 0 END) AS opens,
    SUM(CASE WHEN kind = 'read' THEN 1 ELSE 0 END) AS "reads",
    SUM(CASE WHEN kind = 'click' THEN 1 ELSE 0 END) AS clicks,
    SUM(CASE WHEN kind = 'unsubscribe' THEN 1 ELSE 0 END) AS unsubscribes,
    SUM(CASE WHEN kind = 'bounce' THEN 1 ELSE 0 END) AS bounces
FROM (
    SELECT 'open' AS kind, OpenDate AS happened FROM message_opens
    UNION ALL
    SELECT 'read' AS kind, ReadDate AS happened FROM message_reads
    UNION ALL
    SELECT 'click' AS kind, ClickDate AS happened FROM message_clicks
    UNION ALL
    SELECT 'unsubscribe' AS kind, RemovalDate AS happened FROM message_unsubs
    UNION ALL
    SELECT 'bounce' AS kind, BounceDate AS happened FROM message_bounces
) events
WHERE happened LIKE '____-__-__T__:__:__%Z'
GROUP BY SUBSTRING(happened, 1, 10);
