SELECT
  'events' AS measure,
  (
    SELECT
      COALESCE(SUM(total_events), 0)
    FROM gold_day
  ) AS gold,
  events AS silver
FROM silver_totals
UNION ALL
SELECT
  'page_views',
  (
    SELECT
      COALESCE(SUM(page_views), 0)
    FROM gold_day
  ),
  page_views
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
  'remove_from_carts',
  (
    SELECT
      COALESCE(SUM(remove_from_carts), 0)
    FROM gold_day
  ),
  remove_from_carts
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
  'searches',
  (
    SELECT
      COALESCE(SUM(searches), 0)
    FROM gold_day
  ),
  searches
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
