-- One row per category that the page names: the {most_categories} with most events in the whole range.
SELECT category
FROM (
    SELECT category, ROW_NUMBER() OVER (ORDER BY SUM(total_events) DESC, category) AS place
    FROM gold.category_performance
    WHERE event_date BETWEEN DATE '{first}' AND DATE '{last}'
    GROUP BY category
) AS placed
WHERE place <= CAST('{most_categories}' AS INTEGER)
