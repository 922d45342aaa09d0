-- One row per month and currency with sales.
-- question: What did we sell in each of the last three months (turnover), and at which average price?
-- columns:
-- month: the first day of the month in which the orders were placed
-- currency_code: ISO 4217 code of the currency; amounts of different currencies do not add up
-- orders: number of orders; can be summed
-- units: units sold; can be summed
-- revenue: units times unit price of all orders; can be summed within a currency
-- average_price: revenue divided by units; cannot be summed or averaged again
-- revenue_reporting: revenue in the reporting currency, at each day's rate; NULL if a day has no rate
SELECT
    CAST(date_trunc('month', CAST(day AS timestamp)) AS date) AS month,
    currency_code,
    CAST(sum(orders) AS bigint) AS orders,
    CAST(sum(units) AS bigint) AS units,
    sum(revenue) AS revenue,
    round(sum(revenue) / NULLIF(sum(units), 0), 4) AS average_price,
    CASE WHEN count(*) = count(revenue_reporting) THEN sum(revenue_reporting) END AS revenue_reporting
FROM sales_by_day
GROUP BY CAST(date_trunc('month', CAST(day AS timestamp)) AS date), currency_code
