SELECT
  product_id,
  category,
  views,
  add_to_carts,
  purchases,
  items_sold,
  revenue,
  CAST(add_to_carts AS DOUBLE) / NULLIF(CAST(views AS DOUBLE), 0) AS view_to_cart_rate,
  CAST(purchases AS DOUBLE) / NULLIF(CAST(add_to_carts AS DOUBLE), 0) AS cart_to_purchase_rate,
  CAST(purchases AS DOUBLE) / NULLIF(CAST(views AS DOUBLE), 0) AS view_to_purchase_rate
FROM (
  SELECT
    product_id,
    category,
    CAST(SUM(views) AS BIGINT) AS views,
    CAST(SUM(add_to_carts) AS BIGINT) AS add_to_carts,
    CAST(SUM(purchases) AS BIGINT) AS purchases,
    CAST(SUM(items_sold) AS BIGINT) AS items_sold,
    CAST(SUM(revenue) AS DECIMAL(38, 2)) AS revenue
  FROM partials
  GROUP BY
    product_id,
    category
) AS products
ORDER BY
  product_id,
  category
