-- One row per day and product of the {most_products} most viewed ones: of the whole range, of its newest days, and of
-- their categories (where the first of a category is worth a tenth place). The other products have one row per day and
-- category, without a product: their sums, and the views of the most viewed of them. Products of the others are never
-- among the kept ones.
WITH kept_categories AS (
    {kept_categories}
),

products AS (
    SELECT
        days.product_id,
        days.category,
        SUM(days.views) AS views,
        SUM(CASE WHEN days.event_date >= DATE '{recent}' THEN days.views ELSE 0 END) AS recent_views
    FROM gold.conversion_funnel AS days
    INNER JOIN kept_categories ON days.category = kept_categories.category
    WHERE days.event_date BETWEEN DATE '{first}' AND DATE '{last}'
    GROUP BY days.product_id, days.category
),

ranked AS (
    SELECT
        product_id,
        category,
        ROW_NUMBER() OVER (ORDER BY views DESC, product_id, category) AS view_rank,
        ROW_NUMBER() OVER (ORDER BY recent_views DESC, product_id, category) AS recent_rank,
        10 * ROW_NUMBER() OVER (PARTITION BY category ORDER BY recent_views DESC, product_id) AS category_rank
    FROM products
),

placed AS (
    SELECT
        product_id,
        category,
        ROW_NUMBER() OVER (ORDER BY LEAST(view_rank, recent_rank, category_rank), product_id, category) AS place
    FROM ranked
),

kept AS (SELECT product_id, category FROM placed WHERE place <= CAST('{most_products}' AS INTEGER))

SELECT
    days.event_date,
    kept_categories.category,
    kept.product_id,
    MAX(days.views) AS most_views,
    CAST(SUM(days.views) AS BIGINT) AS views,
    CAST(SUM(days.add_to_carts) AS BIGINT) AS add_to_carts,
    CAST(SUM(days.purchases) AS BIGINT) AS purchases,
    CAST(SUM(days.revenue) AS DECIMAL(38, 2)) AS revenue
FROM gold.conversion_funnel AS days
LEFT JOIN kept_categories ON days.category = kept_categories.category
LEFT JOIN kept ON days.product_id = kept.product_id AND days.category = kept.category
WHERE days.event_date BETWEEN DATE '{first}' AND DATE '{last}'
GROUP BY days.event_date, kept_categories.category, kept.product_id
ORDER BY days.event_date, kept.product_id, kept_categories.category;
