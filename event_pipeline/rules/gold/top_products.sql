-- description: The most viewed products: the first 100 of the day and the first 10 of each category.
-- grain: product_id, category
-- lineage:
--   view_rank: event_type, product_id, category
--   category_rank: event_type, product_id, category
--   product_id: product_id
--   category: category
--   view_count: event_type
-- columns:
--   view_rank        int     1 = most viewed of the day; ties go by product_id, then category
--   category_rank    int     1 = most viewed of its category; ties go by product_id
--   product_id       string  The product
--   category         string  Its category; a product listed under two categories counts under each
--   view_count       bigint  Page views; products without any are not listed
-- traps:
--   view_rank      1            Of one day: ranks of several days cannot be added up, ask for the range
--   category_rank  1            Starts anew in each category; it can be small where view_rank is beyond 100
--   product_id     p_1001       Not every product: most are in neither list of the day
--   category       electronics  A product under two categories has a row and a rank for each
--   view_count     4081         A sum over days lacks the days on which the product was in no list: ask for the range

-- section: partial
SELECT event_date, product_id, category, CAST(COUNT(*) AS BIGINT) AS view_count
FROM silver_events
WHERE event_type = 'page_view'
GROUP BY event_date, product_id, category;

-- section: fold
SELECT view_rank, category_rank, product_id, category, view_count
FROM (
    SELECT
        CAST(ROW_NUMBER() OVER (ORDER BY view_count DESC, product_id, category) AS INTEGER) AS view_rank,
        CAST(
            ROW_NUMBER() OVER (PARTITION BY category ORDER BY view_count DESC, product_id) AS INTEGER
        ) AS category_rank,
        product_id,
        category,
        view_count
    FROM (
        SELECT product_id, category, CAST(SUM(view_count) AS BIGINT) AS view_count
        FROM partials
        GROUP BY product_id, category
    ) AS products
) AS ranked
WHERE view_rank <= 100 OR category_rank <= 10
ORDER BY view_rank;

-- section: reconcile
-- Below 100 rows nothing was cut off, so all page views are here; above, they can only be fewer.
SELECT
    'views' AS measure,
    CASE WHEN listed.products < 100 THEN listed.views ELSE LEAST(listed.views, page_views) END AS gold,
    CASE WHEN listed.products < 100 THEN page_views ELSE listed.views END AS silver
FROM silver_totals
CROSS JOIN (SELECT COUNT(*) AS products, COALESCE(SUM(view_count), 0) AS views FROM gold_day) AS listed;
