SELECT
  event_date,
  CAST(EXTRACT(HOUR FROM event_ts) AS INTEGER) AS event_hour,
  CAST(SUM(revenue) AS DECIMAL(38, 2)) AS total_revenue,
  CAST(COUNT(*) AS BIGINT) AS purchase_count,
  CAST(SUM(quantity) AS BIGINT) AS items_sold
FROM silver_events
WHERE
  event_type = 'purchase'
GROUP BY
  1,
  2
