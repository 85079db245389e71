-- description: How the views of each product turn into carts and purchases.
-- grain: product_id, category
-- columns:
--   product_id               string  The product; every product with an event of the day that carries one
--   category                 string  Its category; a product listed under two categories has two rows
--   views                    bigint  Page views
--   add_to_carts             bigint  Times it was put into a cart
--   purchases                bigint  Purchases
--   view_to_cart_rate        double  add_to_carts / views as a ratio; null without views
--   cart_to_purchase_rate    double  purchases / add_to_carts as a ratio; null without carts
--   view_to_purchase_rate    double  purchases / views as a ratio; null without views

-- section: partial
SELECT
    event_date,
    product_id,
    category,
    CAST(SUM(CASE WHEN event_type = 'page_view' THEN 1 ELSE 0 END) AS BIGINT) AS views,
    CAST(SUM(CASE WHEN event_type = 'add_to_cart' THEN 1 ELSE 0 END) AS BIGINT) AS add_to_carts,
    CAST(SUM(CASE WHEN event_type = 'purchase' THEN 1 ELSE 0 END) AS BIGINT) AS purchases
FROM silver_events
WHERE product_id IS NOT NULL
GROUP BY event_date, product_id, category;

-- section: fold
SELECT
    product_id,
    category,
    views,
    add_to_carts,
    purchases,
    CAST(add_to_carts AS DOUBLE) / NULLIF(CAST(views AS DOUBLE), 0) AS view_to_cart_rate,
    CAST(purchases AS DOUBLE) / NULLIF(CAST(add_to_carts AS DOUBLE), 0) AS cart_to_purchase_rate,
    CAST(purchases AS DOUBLE) / NULLIF(CAST(views AS DOUBLE), 0) AS view_to_purchase_rate
FROM (
    SELECT
        product_id,
        category,
        CAST(SUM(views) AS BIGINT) AS views,
        CAST(SUM(add_to_carts) AS BIGINT) AS add_to_carts,
        CAST(SUM(purchases) AS BIGINT) AS purchases
    FROM partials
    GROUP BY product_id, category
) AS products
ORDER BY product_id, category;

-- section: reconcile
SELECT 'views' AS measure, (SELECT COALESCE(SUM(views), 0) FROM gold_day) AS gold, page_views AS silver
FROM silver_totals
UNION ALL
SELECT 'add_to_carts', (SELECT COALESCE(SUM(add_to_carts), 0) FROM gold_day), add_to_carts
FROM silver_totals
UNION ALL
SELECT 'purchases', (SELECT COALESCE(SUM(purchases), 0) FROM gold_day), purchases
FROM silver_totals;
