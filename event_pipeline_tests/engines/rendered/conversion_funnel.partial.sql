SELECT
  event_date,
  product_id,
  category,
  CAST(SUM(CASE WHEN event_type = 'page_view' THEN 1 ELSE 0 END) AS BIGINT) AS views,
  CAST(SUM(CASE WHEN event_type = 'add_to_cart' THEN 1 ELSE 0 END) AS BIGINT) AS add_to_carts,
  CAST(SUM(CASE WHEN event_type = 'purchase' THEN 1 ELSE 0 END) AS BIGINT) AS purchases,
  CAST(SUM(CASE WHEN event_type = 'purchase' THEN quantity ELSE 0 END) AS BIGINT) AS items_sold,
  CAST(COALESCE(SUM(revenue), 0) AS DECIMAL(38, 2)) AS revenue
FROM silver_events
WHERE
  NOT product_id IS NULL
GROUP BY
  event_date,
  product_id,
  category
