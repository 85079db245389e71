-- description: What people did in their sessions, and how many filled carts were left behind.
-- grain: -
-- lineage:
--   sessions: session_id
--   sessions_with_view: session_id, event_type
--   sessions_with_cart: session_id, event_type
--   sessions_with_purchase: session_id, event_type
--   abandoned_carts: session_id, event_type
--   conversion_rate: session_id, event_type
--   abandonment_rate: session_id, event_type
--   revenue: revenue
--   revenue_per_session: session_id, revenue
-- columns:
--   sessions                bigint         Distinct sessions of the whole day, exact
--   sessions_with_view      bigint         Those with a page view
--   sessions_with_cart      bigint         Those that put something into a cart
--   sessions_with_purchase  bigint         Those with a purchase
--   abandoned_carts         bigint         Those with a cart and without a purchase on that day
--   conversion_rate         double         sessions_with_purchase / sessions as a ratio
--   abandonment_rate        double         abandoned_carts / sessions_with_cart as a ratio; null without carts
--   revenue                 decimal(38,2)  Sum of price x quantity of the purchases, USD; 0.00 without any
--   revenue_per_session     decimal(18,2)  revenue / sessions, USD, rounded half up
-- traps:
--   sessions                61802      Do not add up days: a session over midnight is in both
--   sessions_with_view      50120      Sessions, not views
--   sessions_with_cart      21044      On that day: what was put into the cart the day before is not seen
--   sessions_with_purchase  9821       Sessions, not purchases: one can have many
--   abandoned_carts         14210      A purchase after midnight is not seen; what was taken out again counts
--   conversion_rate         0.1589     A ratio, not per cent; over days divide sums, never average rates
--   abandonment_rate        0.6753     A ratio, not per cent; over days divide sums, never average rates
--   revenue                 748610.25  0.00 without a purchase, never null; decimal: a cast to double loses cents
--   revenue_per_session     12.11      Over all sessions, not only those with a purchase

-- section: partial
-- A session may reach over hours and days, so the partial keeps the ids; in order they compress to little.
SELECT
    event_date,
    session_id,
    CAST(SUM(CASE WHEN event_type = 'page_view' THEN 1 ELSE 0 END) AS BIGINT) AS views,
    CAST(SUM(CASE WHEN event_type = 'add_to_cart' THEN 1 ELSE 0 END) AS BIGINT) AS add_to_carts,
    CAST(SUM(CASE WHEN event_type = 'purchase' THEN 1 ELSE 0 END) AS BIGINT) AS purchases,
    CAST(COALESCE(SUM(revenue), 0) AS DECIMAL(38, 2)) AS revenue
FROM silver_events
GROUP BY event_date, session_id
ORDER BY 1, 2;

-- section: fold
SELECT
    sessions,
    sessions_with_view,
    sessions_with_cart,
    sessions_with_purchase,
    abandoned_carts,
    CAST(sessions_with_purchase AS DOUBLE) / NULLIF(CAST(sessions AS DOUBLE), 0) AS conversion_rate,
    CAST(abandoned_carts AS DOUBLE) / NULLIF(CAST(sessions_with_cart AS DOUBLE), 0) AS abandonment_rate,
    revenue,
    -- In whole cents, as the average of hourly_revenue is.
    CAST(
        CAST((CAST(revenue * 200 AS HUGEINT) + sessions) // (2 * sessions) AS DECIMAL(18, 0)) * 0.01 AS DECIMAL(18, 2)
    ) AS revenue_per_session
FROM (
    SELECT
        CAST(COUNT(*) AS BIGINT) AS sessions,
        CAST(SUM(CASE WHEN views > 0 THEN 1 ELSE 0 END) AS BIGINT) AS sessions_with_view,
        CAST(SUM(CASE WHEN add_to_carts > 0 THEN 1 ELSE 0 END) AS BIGINT) AS sessions_with_cart,
        CAST(SUM(CASE WHEN purchases > 0 THEN 1 ELSE 0 END) AS BIGINT) AS sessions_with_purchase,
        CAST(SUM(CASE WHEN add_to_carts > 0 AND purchases = 0 THEN 1 ELSE 0 END) AS BIGINT) AS abandoned_carts,
        CAST(SUM(revenue) AS DECIMAL(38, 2)) AS revenue
    FROM (
        SELECT
            session_id,
            SUM(views) AS views,
            SUM(add_to_carts) AS add_to_carts,
            SUM(purchases) AS purchases,
            SUM(revenue) AS revenue
        FROM partials
        GROUP BY session_id
    ) AS each_session
    HAVING COUNT(*) > 0
) AS day;

-- section: reconcile
SELECT 'revenue' AS measure, (SELECT COALESCE(SUM(revenue), 0) FROM gold_day) AS gold, revenue AS silver
FROM silver_totals;
