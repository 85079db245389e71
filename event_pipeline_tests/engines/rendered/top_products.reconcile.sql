SELECT
  'views' AS measure,
  CASE
    WHEN listed.products < 100
    THEN listed.views
    ELSE LEAST(listed.views, page_views)
  END AS gold,
  CASE WHEN listed.products < 100 THEN page_views ELSE listed.views END AS silver
FROM silver_totals
CROSS JOIN (
  SELECT
    COUNT(*) AS products,
    COALESCE(SUM(view_count), 0) AS views
  FROM gold_day
) AS listed
