SELECT
  event_date,
  'user' AS kind,
  user_id AS id,
  CAST(COUNT(*) AS BIGINT) AS events
FROM silver_events
GROUP BY
  event_date,
  user_id
UNION ALL
SELECT
  event_date,
  'session' AS kind,
  session_id AS id,
  CAST(COUNT(*) AS BIGINT) AS events
FROM silver_events
GROUP BY
  event_date,
  session_id
ORDER BY
  1,
  2,
  3
