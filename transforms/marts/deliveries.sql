-- One row per order that is not deleted, with the day for which its delivery is agreed. The source has no
-- actual day of delivery, so late deliveries cannot be told from this.
-- question: What has to be delivered in the next seven days?
-- columns:
-- kind: sale or purchase
-- order_id: sales_order_id of a sale, purchase_order_id of a purchase
-- day: the day on which the order was placed
-- counterparty_id: the customer of a sale, the supplier of a purchase
-- counterparty_name: legal name of the counterparty
-- location_id: where the order is to be delivered to
-- delivery_city: city of that location
-- agreed_delivery_date: the day for which delivery is agreed now; delivery_slips has earlier ones
-- days_until: days from the day shown to the agreed day; negative: it has passed
-- status: upcoming, today or passed: where the agreed day is, not whether anything was delivered
WITH orders AS (
    SELECT
        'sale' AS kind,
        sales_order_id AS order_id,
        created_date,
        counterparty_id,
        agreed_delivery_location_id,
        agreed_delivery_date
    FROM fact_sales_order
    UNION ALL
    SELECT
        'purchase' AS kind,
        purchase_order_id AS order_id,
        created_date,
        counterparty_id,
        agreed_delivery_location_id,
        agreed_delivery_date
    FROM fact_purchase_order
)

SELECT
    orders.kind,
    orders.order_id,
    orders.created_date AS day,
    orders.counterparty_id,
    counterparties.counterparty_legal_name AS counterparty_name,
    orders.agreed_delivery_location_id AS location_id,
    locations.city AS delivery_city,
    orders.agreed_delivery_date,
    orders.agreed_delivery_date - today.day AS days_until,
    CASE
        WHEN orders.agreed_delivery_date > today.day THEN 'upcoming'
        WHEN orders.agreed_delivery_date = today.day THEN 'today'
        ELSE 'passed'
    END AS status
FROM orders
CROSS JOIN today
LEFT JOIN dim_counterparty AS counterparties ON orders.counterparty_id = counterparties.counterparty_id
LEFT JOIN dim_location AS locations ON orders.agreed_delivery_location_id = locations.location_id
