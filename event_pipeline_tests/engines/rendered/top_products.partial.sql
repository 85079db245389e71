SELECT
  event_date,
  product_id,
  category,
  CAST(COUNT(*) AS BIGINT) AS view_count
FROM silver_events
WHERE
  event_type = 'page_view'
GROUP BY
  event_date,
  product_id,
  category
