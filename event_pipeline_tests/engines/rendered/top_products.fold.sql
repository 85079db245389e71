SELECT
  view_rank,
  category_rank,
  product_id,
  category,
  view_count
FROM (
  SELECT
    CAST(ROW_NUMBER() OVER (ORDER BY view_count DESC, product_id, category) AS INTEGER) AS view_rank,
    CAST(ROW_NUMBER() OVER (PARTITION BY category ORDER BY view_count DESC, product_id) AS INTEGER) AS category_rank,
    product_id,
    category,
    view_count
  FROM (
    SELECT
      product_id,
      category,
      CAST(SUM(view_count) AS BIGINT) AS view_count
    FROM partials
    GROUP BY
      product_id,
      category
  ) AS products
) AS ranked
WHERE
  view_rank <= 100 OR category_rank <= 10
ORDER BY
  view_rank
