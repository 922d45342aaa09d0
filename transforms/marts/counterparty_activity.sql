-- One row per customer: a counterparty with at least one sales order, as of the day shown. Customers who are
-- new in a period are those with first_order_on in it; those lost in a period come from the orders in sales.
-- question: Which customers have we lost (churn)?
-- columns:
-- counterparty_id: the customer
-- counterparty_name: legal name of the customer
-- country: country of the legal address
-- first_order_on: the day of the first sales order
-- last_order_on: the day of the last sales order
-- orders: number of sales orders; can be summed
-- days_since_last_order: days from the last order to the day shown
-- status: as of the day shown, not of a quarter: lost: no order for 90 days; new: the first order was within
-- 90 days; active: all others
WITH orders AS (
    SELECT
        counterparty_id,
        min(created_date) AS first_order_on,
        max(created_date) AS last_order_on,
        count(*) AS orders
    FROM fact_sales_order
    GROUP BY counterparty_id
)

SELECT
    orders.counterparty_id,
    counterparties.counterparty_legal_name AS counterparty_name,
    counterparties.counterparty_legal_country AS country,
    orders.first_order_on,
    orders.last_order_on,
    orders.orders,
    today.day - orders.last_order_on AS days_since_last_order,
    CASE
        WHEN orders.last_order_on < today.day - 90 THEN 'lost'
        WHEN orders.first_order_on >= today.day - 90 THEN 'new'
        ELSE 'active'
    END AS status
FROM orders
CROSS JOIN today
LEFT JOIN dim_counterparty AS counterparties ON orders.counterparty_id = counterparties.counterparty_id
