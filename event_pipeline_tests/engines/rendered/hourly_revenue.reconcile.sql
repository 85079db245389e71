SELECT
  'revenue' AS measure,
  (
    SELECT
      COALESCE(SUM(total_revenue), 0)
    FROM gold_day
  ) AS gold,
  revenue AS silver
FROM silver_totals
UNION ALL
SELECT
  'purchases',
  (
    SELECT
      COALESCE(SUM(purchase_count), 0)
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
