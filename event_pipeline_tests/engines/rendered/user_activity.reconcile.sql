SELECT
  'events' AS measure,
  (
    SELECT
      COALESCE(SUM(total_events), 0)
    FROM gold_day
  ) AS gold,
  events AS silver
FROM silver_totals
