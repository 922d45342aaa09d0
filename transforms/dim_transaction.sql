-- One row a transaction, with the order that it belongs to: a sale's or a purchase's.
SELECT
    transaction_id,
    transaction_type,
    sales_order_id,
    purchase_order_id
FROM transaction
