-- The questions of the Gold tables as they are asked without this pipeline: on the raw lines, where every field is text
-- that nobody checked. `event-pipeline compare` runs them beside Silver and Gold; the header names the Gold table.
-- `bronze_events` stands for the rows of bronze.events that landed in the hours asked about, of the event days asked
-- about. Refused records and duplicates are in them, days and hours are taken as written.

-- name: category_performance
SELECT
    COALESCE(category, '(none)') AS category,
    CAST(COUNT(*) AS BIGINT) AS total_events,
    CAST(SUM(CASE WHEN event_type = 'page_view' THEN 1 ELSE 0 END) AS BIGINT) AS page_views,
    CAST(SUM(CASE WHEN event_type = 'add_to_cart' THEN 1 ELSE 0 END) AS BIGINT) AS add_to_carts,
    CAST(SUM(CASE WHEN event_type = 'remove_from_cart' THEN 1 ELSE 0 END) AS BIGINT) AS remove_from_carts,
    CAST(SUM(CASE WHEN event_type = 'purchase' THEN 1 ELSE 0 END) AS BIGINT) AS purchases,
    CAST(SUM(CASE WHEN event_type = 'search' THEN 1 ELSE 0 END) AS BIGINT) AS searches,
    CAST(COALESCE(SUM(
        CASE WHEN event_type = 'purchase' THEN TRY_CAST(price AS DECIMAL(18, 2)) * TRY_CAST(quantity AS INTEGER) END
    ), 0) AS DECIMAL(38, 2)) AS revenue
FROM bronze_events
GROUP BY COALESCE(category, '(none)')
ORDER BY category;

-- name: conversion_funnel
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
        CAST(SUM(CASE WHEN event_type = 'page_view' THEN 1 ELSE 0 END) AS BIGINT) AS views,
        CAST(SUM(CASE WHEN event_type = 'add_to_cart' THEN 1 ELSE 0 END) AS BIGINT) AS add_to_carts,
        CAST(SUM(CASE WHEN event_type = 'purchase' THEN 1 ELSE 0 END) AS BIGINT) AS purchases,
        CAST(SUM(
            CASE WHEN event_type = 'purchase' THEN TRY_CAST(quantity AS INTEGER) ELSE 0 END
        ) AS BIGINT) AS items_sold,
        CAST(COALESCE(SUM(
            CASE WHEN event_type = 'purchase' THEN TRY_CAST(price AS DECIMAL(18, 2)) * TRY_CAST(quantity AS INTEGER) END
        ), 0) AS DECIMAL(38, 2)) AS revenue
    FROM bronze_events
    WHERE product_id IS NOT NULL
    GROUP BY product_id, category
) AS products
ORDER BY product_id, category;

-- name: hourly_revenue
-- The average in whole cents, rounded half up, because decimal division becomes floating point.
SELECT
    event_hour,
    total_revenue,
    purchase_count,
    items_sold,
    CAST(
        CAST(
            (CAST(total_revenue * 200 AS HUGEINT) + purchase_count) // (2 * purchase_count) AS DECIMAL(18, 0)
        ) * 0.01 AS DECIMAL(18, 2)
    ) AS avg_order_value
FROM (
    SELECT
        TRY_CAST(SUBSTR(event_timestamp, 12, 2) AS INTEGER) AS event_hour,
        CAST(
            SUM(TRY_CAST(price AS DECIMAL(18, 2)) * TRY_CAST(quantity AS INTEGER)) AS DECIMAL(38, 2)
        ) AS total_revenue,
        CAST(COUNT(*) AS BIGINT) AS purchase_count,
        CAST(SUM(TRY_CAST(quantity AS INTEGER)) AS BIGINT) AS items_sold
    FROM bronze_events
    WHERE event_type = 'purchase'
    GROUP BY 1
) AS hours
ORDER BY event_hour;

-- name: top_products
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
        SELECT product_id, category, CAST(COUNT(*) AS BIGINT) AS view_count
        FROM bronze_events
        WHERE event_type = 'page_view'
        GROUP BY product_id, category
    ) AS products
) AS ranked
WHERE view_rank <= 100 OR category_rank <= 10
ORDER BY view_rank;

-- name: user_activity
SELECT
    unique_users,
    unique_sessions,
    total_events,
    CAST(total_events AS DOUBLE) / NULLIF(CAST(unique_users AS DOUBLE), 0) AS events_per_user,
    CAST(total_events AS DOUBLE) / NULLIF(CAST(unique_sessions AS DOUBLE), 0) AS events_per_session,
    CAST(unique_sessions AS DOUBLE) / NULLIF(CAST(unique_users AS DOUBLE), 0) AS sessions_per_user
FROM (
    SELECT
        CAST(COUNT(DISTINCT user_id) AS BIGINT) AS unique_users,
        CAST(COUNT(DISTINCT session_id) AS BIGINT) AS unique_sessions,
        CAST(COUNT(*) AS BIGINT) AS total_events
    FROM bronze_events
    HAVING COUNT(*) > 0
) AS day;
