-- One row per day.
SELECT event_date, unique_users, unique_sessions, total_events
FROM gold.user_activity
WHERE event_date BETWEEN DATE '{first}' AND DATE '{last}'
ORDER BY event_date;
