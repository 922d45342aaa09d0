-- One row per day, department and currency with sales.
-- columns:
-- day: the day on which the orders were placed
-- department_name: the present department of the members of staff who took the orders, also if
-- they were in another one then
-- currency_code: ISO 4217 code of the currency; amounts of different currencies do not add up
-- orders: number of orders; can be summed
-- units: units sold; can be summed
-- revenue: units times unit price of all orders; can be summed within a currency
-- average_price: revenue divided by units; cannot be summed or averaged again
-- revenue_reporting: revenue in the reporting currency, at the rate of the day; NULL without a rate
SELECT
    day,
    department_name,
    currency_code,
    CAST(sum(orders) AS bigint) AS orders,
    CAST(sum(units) AS bigint) AS units,
    sum(revenue) AS revenue,
    round(sum(revenue) / NULLIF(sum(units), 0), 4) AS average_price,
    CASE WHEN count(*) = count(revenue_reporting) THEN sum(revenue_reporting) END AS revenue_reporting
FROM sales_by_staff
GROUP BY day, department_name, currency_code
