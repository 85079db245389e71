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
UNION ALL
SELECT
  'items_sold',
  (
    SELECT
      COALESCE(SUM(items_sold), 0)
    FROM gold_day
  ),
  items_sold
FROM silver_totals
UNION ALL
SELECT
  'revenue',
  (
    SELECT
      COALESCE(SUM(revenue), 0)
    FROM gold_day
  ),
  revenue
FROM silver_totals
