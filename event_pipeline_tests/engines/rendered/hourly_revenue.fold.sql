SELECT
  event_hour,
  total_revenue,
  purchase_count,
  items_sold,
  CAST(CAST(CAST((
    CAST(CAST(total_revenue * 200 AS DECIMAL(38, 0)) + purchase_count AS DECIMAL(38, 0)) - CAST(CAST(total_revenue * 200 AS DECIMAL(38, 0)) + purchase_count AS DECIMAL(38, 0)) % CAST(2 * purchase_count AS DECIMAL(38, 0))
  ) / CAST(2 * purchase_count AS DECIMAL(38, 0)) AS BIGINT) AS DECIMAL(18, 0)) * 0.01 AS DECIMAL(18, 2)) AS avg_order_value
FROM (
  SELECT
    event_hour,
    CAST(SUM(total_revenue) AS DECIMAL(38, 2)) AS total_revenue,
    CAST(SUM(purchase_count) AS BIGINT) AS purchase_count,
    CAST(SUM(items_sold) AS BIGINT) AS items_sold
  FROM partials
  GROUP BY
    event_hour
) AS hours
ORDER BY
  event_hour
