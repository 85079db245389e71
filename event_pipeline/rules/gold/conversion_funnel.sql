-- description: How the views of each product turn into carts and purchases.
-- grain: product_id, category
-- lineage:
--   product_id: product_id
--   category: category
--   views: event_type
--   add_to_carts: event_type
--   purchases: event_type
--   items_sold: event_type, quantity
--   revenue: revenue
--   view_to_cart_rate: event_type
--   cart_to_purchase_rate: event_type
--   view_to_purchase_rate: event_type
-- columns:
--   product_id             string         The product; every product with an event of the day that carries one
--   category               string         Its category; a product listed under two categories has two rows
--   views                  bigint         Page views
--   add_to_carts           bigint         Times it was put into a cart
--   purchases              bigint         Purchases
--   items_sold             bigint         Items of the purchases
--   revenue                decimal(38,2)  Sum of price x quantity of the purchases, USD; 0.00 without any
--   view_to_cart_rate      double         add_to_carts / views as a ratio; null without views
--   cart_to_purchase_rate  double         purchases / add_to_carts as a ratio; null without carts
--   view_to_purchase_rate  double         purchases / views as a ratio; null without views
-- traps:
--   product_id             p_1001       A product without an event on a day has no row on it, not a row of zeros
--   category               electronics  A product sent with two categories has two rows: sum them for the product
--   views                  4081         Views, not visitors: one person can view a product many times
--   add_to_carts           501          Times, not items, and what was taken out again is not subtracted
--   purchases              212          Purchase events, of one product each: a basket of three products is three
--   items_sold             640          Items, not purchases: rates are by purchases
--   revenue                19193.60     0.00 without a purchase, never null; decimal: a cast to double loses cents
--   view_to_cart_rate      0.1228       A ratio, not per cent; over rows or days divide sums, never average rates
--   cart_to_purchase_rate  0.4232       Can be above 1: carts of an earlier day are bought today; never average it
--   view_to_purchase_rate  0.0519       Of events, not of people: the query pack has the funnel in users

-- section: partial
SELECT
    event_date,
    product_id,
    category,
    CAST(SUM(CASE WHEN event_type = 'page_view' THEN 1 ELSE 0 END) AS BIGINT) AS views,
    CAST(SUM(CASE WHEN event_type = 'add_to_cart' THEN 1 ELSE 0 END) AS BIGINT) AS add_to_carts,
    CAST(SUM(CASE WHEN event_type = 'purchase' THEN 1 ELSE 0 END) AS BIGINT) AS purchases,
    CAST(SUM(CASE WHEN event_type = 'purchase' THEN quantity ELSE 0 END) AS BIGINT) AS items_sold,
    CAST(COALESCE(SUM(revenue), 0) AS DECIMAL(38, 2)) AS revenue
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
FROM silver_totals
UNION ALL
SELECT 'items_sold', (SELECT COALESCE(SUM(items_sold), 0) FROM gold_day), items_sold
FROM silver_totals
UNION ALL
SELECT 'revenue', (SELECT COALESCE(SUM(revenue), 0) FROM gold_day), revenue
FROM silver_totals;
