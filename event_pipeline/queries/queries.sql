-- Questions that analysts ask: `event-pipeline queries` lists them, `event-pipeline query --name NAME` answers one.
-- The statements are in DuckDB's dialect and are rendered for Athena; the layout is described in rules/query_pack.py.

-- name: revenue_by_day
-- title: What was earned on each day, and with how many purchases
-- grain: event_date
-- cost: small
SELECT
    event_date,
    SUM(total_revenue) AS revenue,
    SUM(purchase_count) AS purchases,
    SUM(items_sold) AS items_sold
FROM gold.hourly_revenue
GROUP BY event_date
ORDER BY event_date;

-- name: revenue_week_over_week
-- title: What was earned in each week (from Monday), and the difference to the week before
-- grain: week
-- cost: small
SELECT
    week,
    revenue,
    CASE
        WHEN LAG(week) OVER (ORDER BY week) = CAST(week - INTERVAL '7' DAY AS DATE)
            THEN revenue - LAG(revenue) OVER (ORDER BY week)
    END AS difference
FROM (
    SELECT CAST(DATE_TRUNC('week', event_date) AS DATE) AS week, SUM(total_revenue) AS revenue
    FROM gold.hourly_revenue
    GROUP BY 1
) AS weeks
ORDER BY week;

-- name: revenue_month_over_month
-- title: What was earned in each month, and the difference to the month before
-- grain: month
-- cost: small
SELECT
    month,
    revenue,
    CASE
        WHEN LAG(month) OVER (ORDER BY month) = CAST(month - INTERVAL '1' MONTH AS DATE)
            THEN revenue - LAG(revenue) OVER (ORDER BY month)
    END AS difference
FROM (
    SELECT CAST(DATE_TRUNC('month', event_date) AS DATE) AS month, SUM(total_revenue) AS revenue
    FROM gold.hourly_revenue
    GROUP BY 1
) AS months
ORDER BY month;

-- name: revenue_by_weekday
-- title: What was earned on each day of the week (1 = Monday), and on how many days
-- grain: weekday
-- cost: small
SELECT
    CAST(DATE_DIFF('day', CAST(DATE_TRUNC('week', event_date) AS DATE), event_date) + 1 AS INTEGER) AS weekday,
    COUNT(DISTINCT event_date) AS days,
    SUM(total_revenue) AS revenue
FROM gold.hourly_revenue
GROUP BY 1
ORDER BY 1;

-- name: revenue_by_hour_of_day
-- title: Which hours of the day (UTC) sell, over all days
-- grain: event_hour
-- cost: small
SELECT
    event_hour,
    SUM(total_revenue) AS revenue,
    SUM(purchase_count) AS purchases,
    COUNT(*) AS days_with_purchases
FROM gold.hourly_revenue
GROUP BY event_hour
ORDER BY event_hour;

-- name: best_category_last_week
-- title: Which categories sold best in the seven days up to the newest published one
-- grain: category
-- cost: small
SELECT category, SUM(revenue) AS revenue, SUM(purchases) AS purchases
FROM gold.category_performance
WHERE
    event_date > (SELECT CAST(MAX(days.event_date) - INTERVAL '7' DAY AS DATE) FROM gold.category_performance AS days)
    AND category <> '(none)'
GROUP BY category
ORDER BY revenue DESC, category;

-- name: category_share_of_revenue
-- title: Which share of all revenue each category has
-- grain: category
-- cost: small
SELECT
    category,
    SUM(revenue) AS revenue,
    CAST(SUM(revenue) AS DOUBLE) / NULLIF(CAST(SUM(SUM(revenue)) OVER () AS DOUBLE), 0) AS share
FROM gold.category_performance
WHERE category <> '(none)'
GROUP BY category
ORDER BY revenue DESC, category;

-- name: category_conversion
-- title: How many purchases a view leads to in each category
-- grain: category
-- cost: small
SELECT
    category,
    SUM(page_views) AS page_views,
    SUM(purchases) AS purchases,
    CAST(SUM(purchases) AS DOUBLE) / NULLIF(CAST(SUM(page_views) AS DOUBLE), 0) AS purchases_per_view
FROM gold.category_performance
WHERE category <> '(none)'
GROUP BY category
ORDER BY purchases_per_view DESC NULLS LAST, category;

-- name: best_selling_products
-- title: Which 50 products earned most, with items and revenue per item
-- grain: product_id, category
-- cost: small
SELECT
    product_id,
    category,
    SUM(revenue) AS revenue,
    SUM(items_sold) AS items_sold,
    CAST(SUM(revenue) AS DOUBLE) / NULLIF(CAST(SUM(items_sold) AS DOUBLE), 0) AS revenue_per_item
FROM gold.conversion_funnel
GROUP BY product_id, category
ORDER BY revenue DESC, product_id, category
LIMIT 50;

-- name: viewed_but_never_bought
-- title: Which 50 products are viewed most without a single purchase
-- grain: product_id, category
-- cost: small
SELECT product_id, category, views, add_to_carts
FROM (
    SELECT
        product_id,
        category,
        SUM(views) AS views,
        SUM(add_to_carts) AS add_to_carts,
        SUM(purchases) AS purchases
    FROM gold.conversion_funnel
    GROUP BY product_id, category
) AS products
WHERE purchases = 0
ORDER BY views DESC, product_id, category
LIMIT 50;

-- name: product_day_over_day
-- title: Which 50 products gained most views from the day before to the newest published day
-- grain: product_id, category
-- cost: small
SELECT product_id, category, views, views_before
FROM (
    SELECT
        product_id,
        category,
        SUM(CASE WHEN event_date = newest THEN views ELSE 0 END) AS views,
        SUM(CASE WHEN event_date < newest THEN views ELSE 0 END) AS views_before
    FROM gold.conversion_funnel
    CROSS JOIN (SELECT MAX(all_days.event_date) AS newest FROM gold.category_performance AS all_days) AS days
    WHERE event_date >= CAST(newest - INTERVAL '1' DAY AS DATE)
    GROUP BY product_id, category
) AS products
ORDER BY views - views_before DESC, product_id, category
LIMIT 50;

-- name: unique_viewers_by_product
-- title: How many people viewed and bought each product, the 50 most viewed
-- grain: product_id
-- cost: large
SELECT
    product_id,
    COUNT(DISTINCT CASE WHEN event_type = 'page_view' THEN user_id END) AS viewers,
    COUNT(DISTINCT CASE WHEN event_type = 'purchase' THEN user_id END) AS buyers
FROM silver.events
WHERE product_id IS NOT NULL
GROUP BY product_id
ORDER BY viewers DESC, product_id
LIMIT 50;

-- name: views_per_user
-- title: How many people viewed how many pages
-- grain: band
-- cost: large
SELECT band, COUNT(*) AS users, SUM(views) AS views_in_band
FROM (
    SELECT
        CASE WHEN views = 1 THEN '1' WHEN views <= 5 THEN '2-5' WHEN views <= 20 THEN '6-20' ELSE '21+' END AS band,
        views
    FROM (
        SELECT user_id, COUNT(*) AS views
        FROM silver.events
        WHERE event_type = 'page_view'
        GROUP BY user_id
    ) AS users
) AS banded
GROUP BY band
ORDER BY MIN(views);

-- name: funnel_in_users
-- title: How many people viewed, put into a cart and bought, by day
-- grain: event_date
-- cost: large
SELECT
    event_date,
    COUNT(DISTINCT CASE WHEN event_type = 'page_view' THEN user_id END) AS viewers,
    COUNT(DISTINCT CASE WHEN event_type = 'add_to_cart' THEN user_id END) AS with_cart,
    COUNT(DISTINCT CASE WHEN event_type = 'purchase' THEN user_id END) AS buyers
FROM silver.events
GROUP BY event_date
ORDER BY event_date;

-- name: funnel_in_sessions
-- title: In how many sessions there was a view, a cart and a purchase, by day
-- grain: event_date
-- cost: large
SELECT
    event_date,
    COUNT(DISTINCT session_id) AS sessions,
    COUNT(DISTINCT CASE WHEN event_type = 'page_view' THEN session_id END) AS with_view,
    COUNT(DISTINCT CASE WHEN event_type = 'add_to_cart' THEN session_id END) AS with_cart,
    COUNT(DISTINCT CASE WHEN event_type = 'purchase' THEN session_id END) AS with_purchase
FROM silver.events
GROUP BY event_date
ORDER BY event_date;

-- name: abandoned_carts
-- title: How many sessions with a cart ended without a purchase, by the day of the first cart
-- grain: first_cart_day
-- cost: large
SELECT
    first_cart_day,
    COUNT(*) AS sessions_with_cart,
    SUM(CASE WHEN purchases = 0 THEN 1 ELSE 0 END) AS abandoned,
    CAST(SUM(CASE WHEN purchases = 0 THEN 1 ELSE 0 END) AS DOUBLE) / CAST(COUNT(*) AS DOUBLE) AS abandoned_share
FROM (
    SELECT
        session_id,
        MIN(CASE WHEN event_type = 'add_to_cart' THEN event_date END) AS first_cart_day,
        SUM(CASE WHEN event_type = 'purchase' THEN 1 ELSE 0 END) AS purchases
    FROM silver.events
    GROUP BY session_id
) AS sessions
WHERE first_cart_day IS NOT NULL
GROUP BY first_cart_day
ORDER BY first_cart_day;

-- name: abandoned_products
-- title: Which 50 products are most often left in the cart of a session that does not buy them
-- grain: product_id
-- cost: large
SELECT product_id, COUNT(*) AS sessions_with_cart, SUM(CASE WHEN bought = 0 THEN 1 ELSE 0 END) AS abandoned
FROM (
    SELECT
        session_id,
        product_id,
        MAX(CASE WHEN event_type = 'add_to_cart' THEN 1 ELSE 0 END) AS in_cart,
        MAX(CASE WHEN event_type = 'purchase' THEN 1 ELSE 0 END) AS bought
    FROM silver.events
    WHERE event_type IN ('add_to_cart', 'purchase')
    GROUP BY session_id, product_id
) AS carts
WHERE in_cart = 1
GROUP BY product_id
ORDER BY abandoned DESC, product_id
LIMIT 50;

-- name: removed_from_cart
-- title: Which 50 products are most often taken out of carts again
-- grain: product_id
-- cost: large
SELECT
    product_id,
    SUM(CASE WHEN event_type = 'remove_from_cart' THEN 1 ELSE 0 END) AS removals,
    SUM(CASE WHEN event_type = 'add_to_cart' THEN 1 ELSE 0 END) AS add_to_carts
FROM silver.events
WHERE event_type IN ('add_to_cart', 'remove_from_cart')
GROUP BY product_id
ORDER BY removals DESC, product_id
LIMIT 50;

-- name: repeat_buyers
-- title: How many people bought once, twice and more often, and what they spent
-- grain: band
-- cost: large
SELECT band, COUNT(*) AS users, SUM(revenue) AS revenue
FROM (
    SELECT
        CASE WHEN purchases = 1 THEN '1' WHEN purchases = 2 THEN '2' ELSE '3+' END AS band,
        purchases,
        revenue
    FROM (
        SELECT user_id, COUNT(*) AS purchases, SUM(revenue) AS revenue
        FROM silver.events
        WHERE event_type = 'purchase'
        GROUP BY user_id
    ) AS users
) AS banded
GROUP BY band
ORDER BY MIN(purchases);

-- name: basket_value_bands
-- title: How many sessions spent how much (USD)
-- grain: band
-- cost: large
SELECT band, COUNT(*) AS sessions, SUM(basket) AS revenue
FROM (
    SELECT
        CASE
            WHEN basket < 50 THEN 'below 50'
            WHEN basket < 100 THEN '50 to 100'
            WHEN basket < 250 THEN '100 to 250'
            WHEN basket < 500 THEN '250 to 500'
            ELSE '500 and more'
        END AS band,
        basket
    FROM (
        SELECT session_id, SUM(revenue) AS basket
        FROM silver.events
        WHERE event_type = 'purchase'
        GROUP BY session_id
    ) AS baskets
) AS banded
GROUP BY band
ORDER BY MIN(basket);

-- name: bought_together
-- title: Which 50 pairs of products are bought in the same session most often
-- grain: product_id, other_product_id
-- cost: large
SELECT one.product_id, other.product_id AS other_product_id, COUNT(*) AS sessions
FROM (SELECT DISTINCT session_id, product_id FROM silver.events WHERE event_type = 'purchase') AS one
INNER JOIN (SELECT DISTINCT session_id, product_id FROM silver.events WHERE event_type = 'purchase') AS other
    ON one.session_id = other.session_id AND one.product_id < other.product_id
GROUP BY one.product_id, other.product_id
ORDER BY sessions DESC, one.product_id, other.product_id
LIMIT 50;

-- name: weekly_active_users
-- title: How many different people came in each week (from Monday), and how many bought
-- grain: week
-- cost: large
SELECT
    CAST(DATE_TRUNC('week', event_date) AS DATE) AS week,
    COUNT(DISTINCT user_id) AS active_users,
    COUNT(DISTINCT CASE WHEN event_type = 'purchase' THEN user_id END) AS buyers
FROM silver.events
GROUP BY 1
ORDER BY 1;

-- name: monthly_active_users
-- title: How many different people came in each month, and how many bought
-- grain: month
-- cost: large
SELECT
    CAST(DATE_TRUNC('month', event_date) AS DATE) AS month,
    COUNT(DISTINCT user_id) AS active_users,
    COUNT(DISTINCT CASE WHEN event_type = 'purchase' THEN user_id END) AS buyers
FROM silver.events
GROUP BY 1
ORDER BY 1;

-- name: new_and_returning_users
-- title: How many people of each day came for the first time, and how many came back
-- grain: event_date
-- cost: large
SELECT
    event_date,
    SUM(CASE WHEN event_date = first_day THEN 1 ELSE 0 END) AS new_users,
    SUM(CASE WHEN event_date > first_day THEN 1 ELSE 0 END) AS returning_users
FROM (
    SELECT user_id, event_date, MIN(event_date) OVER (PARTITION BY user_id) AS first_day
    FROM (SELECT DISTINCT user_id, event_date FROM silver.events) AS visits
) AS visits_with_first
GROUP BY event_date
ORDER BY event_date;

-- name: retention_by_first_day
-- title: How many of the people who came first on a day came again so many days later
-- grain: first_day, days_later
-- cost: large
SELECT first_day, CAST(DATE_DIFF('day', first_day, event_date) AS INTEGER) AS days_later, COUNT(*) AS users
FROM (
    SELECT user_id, event_date, MIN(event_date) OVER (PARTITION BY user_id) AS first_day
    FROM (SELECT DISTINCT user_id, event_date FROM silver.events) AS visits
) AS visits_with_first
GROUP BY first_day, DATE_DIFF('day', first_day, event_date)
ORDER BY 1, 2;

-- name: search_terms
-- title: Which 50 terms are searched for most, and by how many people
-- grain: term
-- cost: large
SELECT LOWER(search_query) AS term, COUNT(*) AS searches, COUNT(DISTINCT user_id) AS users
FROM silver.events
WHERE event_type = 'search'
GROUP BY LOWER(search_query)
ORDER BY searches DESC, term
LIMIT 50;

-- name: searches_without_purchase
-- title: Which 50 search terms are most often not followed by a purchase in the same session
-- grain: term
-- cost: large
SELECT term, COUNT(*) AS searches, SUM(CASE WHEN last_purchase > event_ts THEN 0 ELSE 1 END) AS without_purchase
FROM (
    SELECT
        LOWER(search_query) AS term,
        event_type,
        event_ts,
        MAX(CASE WHEN event_type = 'purchase' THEN event_ts END) OVER (PARTITION BY session_id) AS last_purchase
    FROM silver.events
) AS events_with_purchase
WHERE event_type = 'search'
GROUP BY term
ORDER BY without_purchase DESC, term
LIMIT 50;

-- name: events_per_session
-- title: How many sessions have how many events
-- grain: band
-- cost: large
SELECT band, COUNT(*) AS sessions, SUM(events) AS events_in_band
FROM (
    SELECT
        CASE WHEN events = 1 THEN '1' WHEN events <= 5 THEN '2-5' WHEN events <= 20 THEN '6-20' ELSE '21+' END AS band,
        events
    FROM (SELECT session_id, COUNT(*) AS events FROM silver.events GROUP BY session_id) AS sessions
) AS banded
GROUP BY band
ORDER BY MIN(events);

-- name: busiest_users
-- title: Which 20 users have the most events: customers to thank, or robots
-- grain: user_id
-- cost: large
SELECT
    user_id,
    COUNT(*) AS events,
    COUNT(DISTINCT session_id) AS sessions,
    SUM(CASE WHEN event_type = 'purchase' THEN 1 ELSE 0 END) AS purchases
FROM silver.events
GROUP BY user_id
ORDER BY events DESC, user_id
LIMIT 20;

-- name: several_prices
-- title: Which 50 products were sold at the most different prices
-- grain: product_id
-- cost: large
SELECT product_id, COUNT(DISTINCT price) AS prices, MIN(price) AS lowest, MAX(price) AS highest
FROM silver.events
WHERE event_type = 'purchase'
GROUP BY product_id
ORDER BY prices DESC, product_id
LIMIT 50;

-- name: late_share
-- title: Which share of each day's events landed on a later day
-- grain: event_date
-- cost: large
SELECT
    event_date,
    COUNT(*) AS events,
    SUM(CASE WHEN CAST(year || '-' || month || '-' || day AS DATE) > event_date THEN 1 ELSE 0 END) AS late,
    CAST(SUM(CASE WHEN CAST(year || '-' || month || '-' || day AS DATE) > event_date THEN 1 ELSE 0 END) AS DOUBLE)
    / CAST(COUNT(*) AS DOUBLE) AS late_share
FROM silver.events
GROUP BY event_date
ORDER BY event_date;

-- name: quarantine_by_reason
-- title: How many records are in quarantine for each reason, and in how many raw objects
-- grain: reason
-- cost: medium
SELECT reason, COUNT(*) AS records, COUNT(DISTINCT source_object) AS objects
FROM silver.quarantine
GROUP BY reason
ORDER BY records DESC, reason;

-- name: revenue_in_quarantine
-- title: How much revenue is held up in refused purchases whose price and quantity are plain numbers
-- grain: reason
-- cost: medium
SELECT
    reason,
    COUNT(*) AS purchases,
    SUM(CAST(price AS DECIMAL(10, 2)) * CAST(quantity AS INTEGER)) AS revenue
FROM (
    SELECT
        reason,
        event_type,
        CASE WHEN REGEXP_MATCHES(price, '^[0-9]{1,8}([.][0-9]{1,2})?$') THEN price END AS price,
        CASE WHEN REGEXP_MATCHES(quantity, '^[1-9][0-9]{0,5}$') THEN quantity END AS quantity
    FROM (
        SELECT
            reason,
            CASE WHEN is_json THEN JSON_EXTRACT_STRING(record, '$.event_type') END AS event_type,
            CASE WHEN is_json THEN JSON_EXTRACT_STRING(record, '$.price') END AS price,
            CASE WHEN is_json THEN JSON_EXTRACT_STRING(record, '$.quantity') END AS quantity
        FROM (
            SELECT reason, record, reason NOT IN ('not_json', 'too_long') AS is_json
            FROM silver.quarantine
        ) AS records
    ) AS fields
) AS refused
WHERE LOWER(TRIM(event_type)) = 'purchase' AND price IS NOT NULL AND quantity IS NOT NULL
GROUP BY reason
ORDER BY revenue DESC, reason;

-- name: quality_by_day
-- title: Of each landing day: objects, records, and which share was refused or sent twice
-- grain: landing_day
-- cost: small
SELECT
    CAST(year || '-' || month || '-' || day AS DATE) AS landing_day,
    SUM(objects) AS objects,
    SUM(unreadable_objects) AS unreadable_objects,
    SUM(records) AS records,
    CAST(SUM(quarantined) AS DOUBLE) / NULLIF(CAST(SUM(records) AS DOUBLE), 0) AS quarantined_share,
    CAST(SUM(duplicates) AS DOUBLE) / NULLIF(CAST(SUM(records) AS DOUBLE), 0) AS duplicate_share
FROM ops.hour_ledger
GROUP BY 1
ORDER BY 1;

-- name: hours_with_few_records
-- title: Which landing hours have fewer records than the one before, and whether objects or their records are fewer
-- grain: year, month, day, hour
-- cost: small
SELECT
    year,
    month,
    day,
    hour,
    records,
    records_before,
    objects,
    objects_before,
    unreadable_objects,
    CASE
        WHEN objects - unreadable_objects >= objects_before - unreadable_before THEN 'fewer records in each object'
        WHEN unreadable_objects > unreadable_before THEN 'unreadable objects'
        ELSE 'fewer objects'
    END AS why
FROM (
    SELECT
        year,
        month,
        day,
        hour,
        records,
        objects,
        unreadable_objects,
        LAG(records) OVER (ORDER BY year, month, day, hour) AS records_before,
        LAG(objects) OVER (ORDER BY year, month, day, hour) AS objects_before,
        LAG(unreadable_objects) OVER (ORDER BY year, month, day, hour) AS unreadable_before
    FROM ops.hour_ledger
) AS hours
WHERE records < records_before
ORDER BY year DESC, month DESC, day DESC, hour DESC;
