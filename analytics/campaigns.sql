-- One row per message: what was sent and what came of it.
--
-- opens and clicks count events, click_rate is the share of the delivered whose recipient
-- clicked at least once. The counters are Listrak's own; what it does not count is counted here.
CREATE VIEW campaigns AS
SELECT
    m.MsgID AS message_id,
    m.ListID AS list_id,
    l.ListName AS list_name,
    m.Subject AS subject,
    m.SendDate AS send_date,
    COALESCE(s.sent, 0) AS sent,
    m.DeliverCount AS delivered,
    m.OpenCount AS opens,
    m.ClickCount AS clicks,
    m.ClickerCount * 1.0 / NULLIF(m.DeliverCount, 0) AS click_rate,
    m.RemoveCount AS unsubscribes,
    COALESCE(b.bounces, 0) AS bounces,
    m.OrderTotal AS revenue
FROM messages m
LEFT JOIN lists l ON l.ListID = m.ListID
LEFT JOIN (SELECT MsgID, COUNT(*) AS sent FROM message_sends GROUP BY MsgID) s
    ON s.MsgID = m.MsgID
LEFT JOIN (SELECT MsgID, COUNT(*) AS bounces FROM message_bounces GROUP BY MsgID) b
    ON b.MsgID = m.MsgID;
