-- description: How many people came, in how many sessions, and how much they did.
-- grain: -
-- lineage:
--   unique_users: user_id
--   unique_sessions: session_id
--   total_events: user_id
--   events_per_user: user_id
--   events_per_session: user_id, session_id
--   sessions_per_user: user_id, session_id
-- columns:
--   unique_users          bigint  Distinct users of the whole day, exact
--   unique_sessions       bigint  Distinct sessions of the whole day, exact
--   total_events          bigint  All events
--   events_per_user       double  total_events / unique_users
--   events_per_session    double  total_events / unique_sessions
--   sessions_per_user     double  unique_sessions / unique_users
-- traps:
--   unique_users        51234   Do not add up days: who came on three days is one user of the week; ask for the range
--   unique_sessions     61802   Do not add up days: a session over midnight is in both
--   total_events        180512  Accepted events: quarantined and duplicate records are not among them
--   events_per_user     3.5233  For several days ask for the range: the mean of daily averages is another number
--   events_per_session  2.9208  For several days ask for the range: the mean of daily averages is another number
--   sessions_per_user   1.2063  Below 1 if users share session ids: nothing ties a session to one user

-- section: partial
-- Distinct counts do not add up over hours, so the partial keeps the ids; in order they compress to little.
SELECT event_date, 'user' AS kind, user_id AS id, CAST(COUNT(*) AS BIGINT) AS events
FROM silver_events
GROUP BY event_date, user_id
UNION ALL
SELECT event_date, 'session' AS kind, session_id AS id, CAST(COUNT(*) AS BIGINT) AS events
FROM silver_events
GROUP BY event_date, session_id
ORDER BY 1, 2, 3;

-- section: fold
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
    FROM (SELECT kind, id, SUM(events) AS events FROM partials GROUP BY kind, id) AS ids
    HAVING COUNT(*) > 0
) AS day;

-- section: reconcile
SELECT 'events' AS measure, (SELECT COALESCE(SUM(total_events), 0) FROM gold_day) AS gold, events AS silver
FROM silver_totals;
