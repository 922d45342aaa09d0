-- One row per day, department and currency with purchases.
-- columns:
-- day: the day on which the orders were placed
-- department_name: the present department of the members of staff who placed the orders, also if
-- they were in another one then
-- currency_code: ISO 4217 code of the currency; amounts of different currencies do not add up
-- orders: number of orders; can be summed
-- units: units ordered, of all items; can be summed
-- amount: units times unit price of all orders; can be summed within a currency
-- average_price: amount divided by units; cannot be summed or averaged again
-- amount_reporting: amount in the reporting currency, at the rate of the day; NULL without a rate
SELECT
    day,
    department_name,
    currency_code,
    CAST(sum(orders) AS bigint) AS orders,
    CAST(sum(units) AS bigint) AS units,
    sum(amount) AS amount,
    round(sum(amount) / NULLIF(sum(units), 0), 4) AS average_price,
    CASE WHEN count(*) = count(amount_reporting) THEN sum(amount_reporting) END AS amount_reporting
FROM purchases_by_staff
GROUP BY day, department_name, currency_code
