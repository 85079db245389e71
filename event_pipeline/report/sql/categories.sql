-- One row per day and category. Beyond the {most_categories} categories with most events, a day has one row, with null.
WITH kept AS (
    {kept_categories}
)

SELECT
    days.event_date,
    kept.category,
    CAST(SUM(days.total_events) AS BIGINT) AS total_events,
    CAST(SUM(days.page_views) AS BIGINT) AS page_views,
    CAST(SUM(days.add_to_carts) AS BIGINT) AS add_to_carts,
    CAST(SUM(days.remove_from_carts) AS BIGINT) AS remove_from_carts,
    CAST(SUM(days.purchases) AS BIGINT) AS purchases,
    CAST(SUM(days.searches) AS BIGINT) AS searches,
    CAST(SUM(days.revenue) AS DECIMAL(38, 2)) AS revenue
FROM gold.category_performance AS days
LEFT JOIN kept ON days.category = kept.category
WHERE days.event_date BETWEEN DATE '{first}' AND DATE '{last}'
GROUP BY days.event_date, kept.category
ORDER BY days.event_date, kept.category;
