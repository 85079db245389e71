SELECT
  event_date,
  COALESCE(category, '(none)') AS category,
  CAST(COUNT(*) AS BIGINT) AS total_events,
  CAST(SUM(CASE WHEN event_type = 'page_view' THEN 1 ELSE 0 END) AS BIGINT) AS page_views,
  CAST(SUM(CASE WHEN event_type = 'add_to_cart' THEN 1 ELSE 0 END) AS BIGINT) AS add_to_carts,
  CAST(SUM(CASE WHEN event_type = 'remove_from_cart' THEN 1 ELSE 0 END) AS BIGINT) AS remove_from_carts,
  CAST(SUM(CASE WHEN event_type = 'purchase' THEN 1 ELSE 0 END) AS BIGINT) AS purchases,
  CAST(SUM(CASE WHEN event_type = 'search' THEN 1 ELSE 0 END) AS BIGINT) AS searches,
  CAST(COALESCE(SUM(revenue), 0) AS DECIMAL(38, 2)) AS revenue
FROM silver_events
GROUP BY
  event_date,
  COALESCE(category, '(none)')
