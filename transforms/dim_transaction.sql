-- One row per transaction, with its sales order or purchase order. Payments join to their orders
-- through it.
SELECT
    transaction_id,
    transaction_type,
    sales_order_id,
    purchase_order_id
FROM transaction
