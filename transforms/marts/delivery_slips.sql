-- One row per order that is not deleted and whose agreed day of delivery was changed after the order was
-- first captured.
-- columns:
-- kind: sale or purchase
-- sales_order_id: the sales order; NULL for a purchase
-- purchase_order_id: the purchase order; NULL for a sale
-- staff_id: the order's member of staff
-- staff_name: first and last name
-- counterparty_id: the customer of a sale, the supplier of a purchase
-- counterparty_name: legal name of the counterparty
-- first_agreed: the day that was agreed when the order was first captured
-- agreed_now: the day that is agreed now
-- days_slipped: days from first_agreed to agreed_now; negative: delivery is earlier
-- times_moved: how often the day was changed
-- last_moved_at: the moment of the batch that saw the last change
WITH moves AS (
    SELECT
        sales_order_id,
        purchase_order_id,
        CAST((array_agg(old_value ORDER BY amended_at ASC))[1] AS date) AS first_agreed,
        CAST((array_agg(new_value ORDER BY amended_at DESC))[1] AS date) AS agreed_now,
        count(*) AS times_moved,
        max(amended_at) AS last_moved_at
    FROM amendments
    WHERE
        table_name IN ('fact_sales_order', 'fact_purchase_order')
        AND column_name = 'agreed_delivery_date'
    GROUP BY sales_order_id, purchase_order_id
),

moved AS (
    SELECT
        'sale' AS kind,
        moves.*,
        orders.sales_staff_id AS staff_id,
        orders.counterparty_id
    FROM moves
    INNER JOIN fact_sales_order AS orders ON moves.sales_order_id = orders.sales_order_id
    UNION ALL
    SELECT
        'purchase' AS kind,
        moves.*,
        orders.staff_id,
        orders.counterparty_id
    FROM moves
    INNER JOIN fact_purchase_order AS orders ON moves.purchase_order_id = orders.purchase_order_id
)

SELECT
    moved.kind,
    moved.sales_order_id,
    moved.purchase_order_id,
    moved.staff_id,
    concat(staff.first_name, ' ', staff.last_name) AS staff_name,
    moved.counterparty_id,
    counterparties.counterparty_legal_name AS counterparty_name,
    moved.first_agreed,
    moved.agreed_now,
    moved.agreed_now - moved.first_agreed AS days_slipped,
    moved.times_moved,
    moved.last_moved_at
FROM moved
LEFT JOIN dim_staff AS staff ON moved.staff_id = staff.staff_id
LEFT JOIN dim_counterparty AS counterparties ON moved.counterparty_id = counterparties.counterparty_id
