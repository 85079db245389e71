-- One row per day and hour with purchases.
SELECT event_date, event_hour, total_revenue, purchase_count, items_sold
FROM gold.hourly_revenue
WHERE event_date BETWEEN DATE '{first}' AND DATE '{last}'
ORDER BY event_date, event_hour;
