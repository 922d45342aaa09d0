-- One row per design and currency with sales in this quarter or the last one. This quarter up to the day
-- shown is compared with as many days of the last quarter, so no row without sales in these days. For full
-- quarters, sum units and revenue of sales_by_design by its day.
-- question: Which designs fade? A design's name is not unique.
-- columns:
-- design_id: the design
-- design_name: not unique: many designs share a name
-- currency_code: ISO 4217 code of the currency; amounts of different currencies do not add up
-- quarter: the first day of this quarter
-- units: units sold in this quarter; can be summed
-- units_before: units sold in as many days of the last quarter
-- revenue: revenue of this quarter; can be summed within a currency
-- revenue_before: revenue of as many days of the last quarter
-- revenue_reporting: revenue in the reporting currency, at each day's rate; NULL if a day has no rate
-- revenue_reporting_before: the same of as many days of the last quarter; NULL if a day has no rate
-- change: revenue minus revenue_before; negative: the design fades
-- change_share: change divided by revenue_before; NULL if there was none
-- rank: place by revenue, not units, of this quarter within the currency; 1 is the top design
WITH starts AS (
    SELECT
        day,
        CAST(date_trunc('quarter', CAST(day AS timestamp)) AS date) AS this_quarter,
        CAST(date_trunc('quarter', CAST(day AS timestamp)) - interval '3 months' AS date) AS last_quarter
    FROM today
),

quarters AS (
    SELECT
        day,
        this_quarter,
        last_quarter,
        last_quarter + (day - this_quarter) AS day_before
    FROM starts
),

totals AS (
    -- Scalar subqueries let Postgres use the index of the days, and two processes. The upper bounds stand in
    -- CASE because it expects few rows between two bounds and then uses one. A sum per day would be 100 times
    -- larger.
    SELECT
        orders.design_id,
        orders.currency_id,
        orders.created_date >= (SELECT quarters.this_quarter FROM quarters) AS is_new,
        sum(orders.units_sold) AS units,
        sum(orders.units_sold * orders.unit_price) AS revenue,
        sum(rates.rate * orders.unit_price * orders.units_sold) AS revenue_reporting,
        count(*) - count(rates.rate) AS orders_without_rate
    FROM fact_sales_order AS orders
    LEFT JOIN exchange_rates AS rates
        ON orders.created_date = rates.day AND orders.currency_id = rates.currency_id
    WHERE
        orders.created_date >= (SELECT quarters.last_quarter FROM quarters)
        AND CASE
            WHEN orders.created_date >= (SELECT quarters.this_quarter FROM quarters)
                THEN orders.created_date <= (SELECT quarters.day FROM quarters)
            ELSE orders.created_date <= (SELECT quarters.day_before FROM quarters)
        END
    GROUP BY orders.design_id, orders.currency_id, is_new
),

compared AS (
    SELECT
        design_id,
        currency_id,
        COALESCE(CAST(sum(units) FILTER (WHERE is_new) AS bigint), 0) AS units,
        COALESCE(CAST(sum(units) FILTER (WHERE NOT is_new) AS bigint), 0) AS units_before,
        COALESCE(sum(revenue) FILTER (WHERE is_new), 0) AS revenue,
        COALESCE(sum(revenue) FILTER (WHERE NOT is_new), 0) AS revenue_before,
        COALESCE(sum(revenue_reporting) FILTER (WHERE is_new), 0) AS revenue_reporting,
        COALESCE(sum(revenue_reporting) FILTER (WHERE NOT is_new), 0) AS revenue_reporting_before,
        COALESCE(sum(orders_without_rate) FILTER (WHERE is_new), 0) AS without_rate,
        COALESCE(sum(orders_without_rate) FILTER (WHERE NOT is_new), 0) AS without_rate_before
    FROM totals
    GROUP BY design_id, currency_id
)

SELECT
    compared.design_id,
    designs.design_name,
    currencies.currency_code,
    quarters.this_quarter AS quarter,
    compared.units,
    compared.units_before,
    compared.revenue,
    compared.revenue_before,
    CASE WHEN compared.without_rate = 0 THEN compared.revenue_reporting END AS revenue_reporting,
    CASE
        WHEN compared.without_rate_before = 0 THEN compared.revenue_reporting_before
    END AS revenue_reporting_before,
    compared.revenue - compared.revenue_before AS change,
    round(
        (compared.revenue - compared.revenue_before) / NULLIF(compared.revenue_before, 0), 4
    ) AS change_share,
    rank() OVER (PARTITION BY currencies.currency_code ORDER BY compared.revenue DESC) AS rank
FROM compared
CROSS JOIN quarters
LEFT JOIN dim_design AS designs ON compared.design_id = designs.design_id
LEFT JOIN dim_currency AS currencies ON compared.currency_id = currencies.currency_id
