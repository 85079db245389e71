-- description: Revenue of each hour of the day: what was bought and for how much.
-- grain: event_hour
-- lineage:
--   event_hour: event_ts
--   total_revenue: event_type, revenue
--   purchase_count: event_type
--   items_sold: event_type, quantity
--   avg_order_value: event_type, revenue
-- columns:
--   event_hour        int            Hour of the day in UTC, 0 to 23; hours without purchases have no row
--   total_revenue     decimal(38,2)  Sum of price x quantity of the purchases, USD
--   purchase_count    bigint         Purchases
--   items_sold        bigint         Items bought
--   avg_order_value   decimal(18,2)  total_revenue / purchase_count, USD, rounded half up
-- traps:
--   event_hour       21        UTC, not local time; an average over rows leaves out hours without purchases
--   total_revenue    66315.46  Of the hour in which people bought, not in which the events landed; no returns are in it
--   purchase_count   212       Purchase events, of one product each, not baskets
--   items_sold       640       Items, not purchases
--   avg_order_value  312.81    Per purchase event; for a day divide its revenue by its purchases

-- section: partial
SELECT
    event_date,
    CAST(EXTRACT(HOUR FROM event_ts) AS INTEGER) AS event_hour,
    CAST(SUM(revenue) AS DECIMAL(38, 2)) AS total_revenue,
    CAST(COUNT(*) AS BIGINT) AS purchase_count,
    CAST(SUM(quantity) AS BIGINT) AS items_sold
FROM silver_events
WHERE event_type = 'purchase'
GROUP BY 1, 2;

-- section: fold
-- In whole cents, because decimal division becomes floating point: (2a + b) // 2b is a / b rounded half up. In 128
-- bits, which hold 200 times the revenue of 5 x 10^19 purchases at the highest price and quantity; the average of
-- values that fit decimal(18,2) fits it as well.
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
        event_hour,
        CAST(SUM(total_revenue) AS DECIMAL(38, 2)) AS total_revenue,
        CAST(SUM(purchase_count) AS BIGINT) AS purchase_count,
        CAST(SUM(items_sold) AS BIGINT) AS items_sold
    FROM partials
    GROUP BY event_hour
) AS hours
ORDER BY event_hour;

-- section: reconcile
SELECT 'revenue' AS measure, (SELECT COALESCE(SUM(total_revenue), 0) FROM gold_day) AS gold, revenue AS silver
FROM silver_totals
UNION ALL
SELECT 'purchases', (SELECT COALESCE(SUM(purchase_count), 0) FROM gold_day), purchases
FROM silver_totals
UNION ALL
SELECT 'items_sold', (SELECT COALESCE(SUM(items_sold), 0) FROM gold_day), items_sold
FROM silver_totals;
