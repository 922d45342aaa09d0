-- One row per day, delivery location and currency with sales: the orders placed on that day.
-- columns:
-- day: the day on which the orders were placed
-- location_id: where the orders are to be delivered to
-- delivery_city: city that the orders are delivered to
-- delivery_country: country that the orders are delivered to
-- currency_code: ISO 4217 code of the currency; amounts of different currencies do not add up
-- orders: number of orders; can be summed
-- units: units sold; can be summed
-- revenue: units times unit price of all orders; can be summed within a currency
-- average_price: revenue divided by units; cannot be summed or averaged again
-- revenue_reporting: revenue in the reporting currency, at the rate of the day; NULL without a rate
WITH totals AS (
    SELECT
        created_date AS day,
        agreed_delivery_location_id AS location_id,
        currency_id,
        count(*) AS orders,
        sum(units_sold) AS units,
        sum(units_sold * unit_price) AS revenue
    FROM fact_sales_order
    GROUP BY created_date, agreed_delivery_location_id, currency_id
)

SELECT
    totals.day,
    totals.location_id,
    locations.city AS delivery_city,
    locations.country AS delivery_country,
    currencies.currency_code,
    totals.orders,
    totals.units,
    totals.revenue,
    round(totals.revenue / NULLIF(totals.units, 0), 4) AS average_price,
    totals.revenue * rates.rate AS revenue_reporting
FROM totals
LEFT JOIN dim_location AS locations ON totals.location_id = locations.location_id
LEFT JOIN dim_currency AS currencies ON totals.currency_id = currencies.currency_id
LEFT JOIN exchange_rates AS rates ON totals.day = rates.day AND totals.currency_id = rates.currency_id
