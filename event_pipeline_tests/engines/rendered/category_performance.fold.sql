SELECT
  category,
  CAST(SUM(total_events) AS BIGINT) AS total_events,
  CAST(SUM(page_views) AS BIGINT) AS page_views,
  CAST(SUM(add_to_carts) AS BIGINT) AS add_to_carts,
  CAST(SUM(remove_from_carts) AS BIGINT) AS remove_from_carts,
  CAST(SUM(purchases) AS BIGINT) AS purchases,
  CAST(SUM(searches) AS BIGINT) AS searches,
  CAST(SUM(revenue) AS DECIMAL(38, 2)) AS revenue
FROM partials
GROUP BY
  category
ORDER BY
  category
