-- description: What happened in each category, and what it earned.
-- grain: category
-- lineage:
--   category: category
--   total_events: category
--   page_views: event_type
--   add_to_carts: event_type
--   remove_from_carts: event_type
--   purchases: event_type
--   searches: event_type
--   revenue: revenue
-- columns:
--   category             string         The category; (none) for searches, which carry none
--   total_events         bigint         All events
--   page_views           bigint         Page views
--   add_to_carts         bigint         Times something was put into a cart
--   remove_from_carts    bigint         Times something was taken out of a cart
--   purchases            bigint         Purchases
--   searches             bigint         Searches
--   revenue              decimal(38,2)  Sum of price x quantity of the purchases, USD; 0.00 without any
-- traps:
--   category           electronics  (none) is the searches: leave it out of a list of categories
--   total_events       16204        All event types together, which is mostly page views
--   page_views         8102         Views, not visitors
--   add_to_carts       3241         Times, not items
--   remove_from_carts  1620         Not subtracted from add_to_carts
--   purchases          1622         Purchase events, of one product each, not baskets
--   searches           0            0 in every category but (none): a search carries no category
--   revenue            748610.25    0.00 without a purchase, never null; decimal: a cast to double loses cents

-- section: partial
SELECT
    event_date,
    COALESCE(category, '(none)') AS category,
    CAST(COUNT(*) AS BIGINT) AS total_events,
    CAST(SUM(CASE WHEN event_type = 'page_view' THEN 1 ELSE 0 END) AS BIGINT) AS page_views,
    CAST(SUM(CASE WHEN event_type = 'add_to_cart' THEN 1 ELSE 0 END) AS BIGINT) AS add_to_carts,
    CAST(SUM(CASE WHEN event_type = 'remove_from_cart' THEN 1 ELSE 0 END) AS BIGINT) AS remove_from_carts,
    CAST(SUM(CASE WHEN event_type = 'purchase' THEN 1 ELSE 0 END) AS BIGINT) AS purchases,
    CAST(SUM(CASE WHEN event_type = 'search' THEN 1 ELSE 0 END) AS BIGINT) AS searches,
    CAST(COALESCE(SUM(revenue), 0) AS DECIMAL(38, 2)) AS revenue
FROM silver_events
GROUP BY event_date, COALESCE(category, '(none)');

-- section: fold
SELECT
    category,
    CAST(SUM(total_events) AS BIGINT) AS total_events,
    CAST(SUM(page_views) AS BIGINT) AS page_views,
    CAST(SUM(add_to_carts) AS BIGINT) AS add_to_carts,
    CAST(SUM(remove_from_carts) AS BIGINT) AS remove_from_carts,
    CAST(SUM(purchases) AS BIGINT) AS purchases,
    CAST(SUM(searches) AS BIGINT) AS searches,
    CAST(SUM(revenue) AS DECIMAL(38, 2)) AS revenue
FROM partials
GROUP BY category
ORDER BY category;

-- section: reconcile
SELECT 'events' AS measure, (SELECT COALESCE(SUM(total_events), 0) FROM gold_day) AS gold, events AS silver
FROM silver_totals
UNION ALL
SELECT 'page_views', (SELECT COALESCE(SUM(page_views), 0) FROM gold_day), page_views
FROM silver_totals
UNION ALL
SELECT 'add_to_carts', (SELECT COALESCE(SUM(add_to_carts), 0) FROM gold_day), add_to_carts
FROM silver_totals
UNION ALL
SELECT 'remove_from_carts', (SELECT COALESCE(SUM(remove_from_carts), 0) FROM gold_day), remove_from_carts
FROM silver_totals
UNION ALL
SELECT 'purchases', (SELECT COALESCE(SUM(purchases), 0) FROM gold_day), purchases
FROM silver_totals
UNION ALL
SELECT 'searches', (SELECT COALESCE(SUM(searches), 0) FROM gold_day), searches
FROM silver_totals
UNION ALL
SELECT 'revenue', (SELECT COALESCE(SUM(revenue), 0) FROM gold_day), revenue
FROM silver_totals;
