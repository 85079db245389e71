SELECT
  'views' AS measure,
  (
    SELECT
      COALESCE(SUM(views), 0)
    FROM gold_day
  ) AS gold,
  page_views AS silver
FROM silver_totals
UNION ALL
SELECT
  'add_to_carts',
  (
    SELECT
      COALESCE(SUM(add_to_carts), 0)
    FROM gold_day
  ),
  add_to_carts
FROM silver_totals
UNION ALL
SELECT
  'purchases',
  (
    SELECT
      COALESCE(SUM(purchases), 0)
    FROM gold_day
  ),
  purchases
FROM silver_totals
