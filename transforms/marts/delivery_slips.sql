-- One row per order that is not deleted and whose agreed day of delivery was changed after the order was
-- first captured. Orders that never moved have no row.
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
-- days_slipped: days from first_agreed to agreed_now; negative: delivery is earlier. Its average is
-- over moved orders only
-- times_moved: how often the day was changed
-- last_moved_at: the moment of the batch that saw the last change
WITH changes AS (
    SELECT
        later.sales_order_id,
        CAST(NULL AS integer) AS purchase_order_id,
        earlier.agreed_delivery_date AS agreed_before,
        later.agreed_delivery_date,
        earlier.valid_to AS moved_at
    FROM fact_sales_order_history AS earlier
    INNER JOIN fact_sales_order_history AS later
        ON earlier.sales_order_id = later.sales_order_id AND earlier.valid_to = later.valid_from
    WHERE
        -- Few versions have ended: told that, Postgres finds them by their index.
        earlier.valid_to IS NOT NULL
        AND earlier.valid_to <= (SELECT etl.looked_at())
        AND NOT earlier.deleted
        AND NOT later.deleted
        AND earlier.agreed_delivery_date <> later.agreed_delivery_date
    UNION ALL
    SELECT
        NULL,
        later.purchase_order_id,
        earlier.agreed_delivery_date,
        later.agreed_delivery_date,
        earlier.valid_to
    FROM fact_purchase_order_history AS earlier
    INNER JOIN fact_purchase_order_history AS later
        ON earlier.purchase_order_id = later.purchase_order_id AND earlier.valid_to = later.valid_from
    WHERE
        earlier.valid_to IS NOT NULL
        AND earlier.valid_to <= (SELECT etl.looked_at())
        AND NOT earlier.deleted
        AND NOT later.deleted
        AND earlier.agreed_delivery_date <> later.agreed_delivery_date
),

moves AS (
    SELECT
        sales_order_id,
        purchase_order_id,
        (array_agg(agreed_before ORDER BY moved_at ASC))[1] AS first_agreed,
        (array_agg(agreed_delivery_date ORDER BY moved_at DESC))[1] AS agreed_now,
        count(*) AS times_moved,
        max(moved_at) AS last_moved_at
    FROM changes
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
