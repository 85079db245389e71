-- The published event days. Every event counts in user_activity, so it has the days of all five tables.
SELECT MIN(event_date) AS first_day, MAX(event_date) AS last_day
FROM gold.user_activity;
