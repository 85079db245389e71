SELECT
  unique_users,
  unique_sessions,
  total_events,
  CAST(total_events AS DOUBLE) / NULLIF(CAST(unique_users AS DOUBLE), 0) AS events_per_user,
  CAST(total_events AS DOUBLE) / NULLIF(CAST(unique_sessions AS DOUBLE), 0) AS events_per_session,
  CAST(unique_sessions AS DOUBLE) / NULLIF(CAST(unique_users AS DOUBLE), 0) AS sessions_per_user
FROM (
  SELECT
    CAST(SUM(CASE WHEN kind = 'user' THEN 1 ELSE 0 END) AS BIGINT) AS unique_users,
    CAST(SUM(CASE WHEN kind = 'session' THEN 1 ELSE 0 END) AS BIGINT) AS unique_sessions,
    CAST(SUM(CASE WHEN kind = 'user' THEN events ELSE 0 END) AS BIGINT) AS total_events
  FROM (
    SELECT
      kind,
      id,
      SUM(events) AS events
    FROM partials
    GROUP BY
      kind,
      id
  ) AS ids
  HAVING
    COUNT(*) > 0
) AS day
