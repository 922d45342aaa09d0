-- One row per day, member of staff and currency with sales: the orders placed on that day.
-- question: Who are the five best sellers of this year, by currency?
-- columns:
-- day: the day on which the orders were placed
-- staff_id: who took the orders
-- staff_name: first and last name; may not be unique
-- department_name: the present department of the member of staff, also for older orders
-- currency_code: ISO 4217 code of the currency; amounts of different currencies do not add up
-- orders: number of orders; can be summed
-- units: units sold; can be summed
-- revenue: units times unit price of all orders; can be summed within a currency
-- average_price: revenue divided by units; cannot be summed or averaged again
-- revenue_reporting: revenue in the reporting currency, at the rate of the day; NULL without a rate
WITH totals AS (
    SELECT
        created_date AS day,
        sales_staff_id AS staff_id,
        currency_id,
        count(*) AS orders,
        sum(units_sold) AS units,
        sum(units_sold * unit_price) AS revenue
    FROM fact_sales_order
    GROUP BY created_date, sales_staff_id, currency_id
)

SELECT
    totals.day,
    totals.staff_id,
    concat(staff.first_name, ' ', staff.last_name) AS staff_name,
    staff.department_name,
    currencies.currency_code,
    totals.orders,
    totals.units,
    totals.revenue,
    round(totals.revenue / NULLIF(totals.units, 0), 4) AS average_price,
    totals.revenue * rates.rate AS revenue_reporting
FROM totals
LEFT JOIN dim_staff AS staff ON totals.staff_id = staff.staff_id
LEFT JOIN dim_currency AS currencies ON totals.currency_id = currencies.currency_id
LEFT JOIN exchange_rates AS rates ON totals.day = rates.day AND totals.currency_id = rates.currency_id
