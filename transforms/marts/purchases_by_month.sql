-- One row per month and currency with purchases.
-- columns:
-- month: the first day of the month in which the orders were placed
-- currency_code: ISO 4217 code of the currency; amounts of different currencies do not add up
-- orders: number of orders; can be summed
-- units: units ordered, of all items; can be summed
-- amount: units times unit price of all orders; can be summed within a currency
-- average_price: amount divided by units; cannot be summed or averaged again
-- amount_reporting: amount in the reporting currency, at each day's rate; NULL if a day has no rate
SELECT
    CAST(date_trunc('month', CAST(day AS timestamp)) AS date) AS month,
    currency_code,
    CAST(sum(orders) AS bigint) AS orders,
    CAST(sum(units) AS bigint) AS units,
    sum(amount) AS amount,
    round(sum(amount) / NULLIF(sum(units), 0), 4) AS average_price,
    CASE WHEN count(*) = count(amount_reporting) THEN sum(amount_reporting) END AS amount_reporting
FROM purchases_by_day
GROUP BY CAST(date_trunc('month', CAST(day AS timestamp)) AS date), currency_code
