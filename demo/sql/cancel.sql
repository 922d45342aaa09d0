-- Delete a sales order with its transaction and its payment.
WITH unpaid AS (
    DELETE FROM payment
    WHERE transaction_id IN (
            SELECT transaction_id FROM "transaction" WHERE sales_order_id = %(sales_order_id)s
        )
    RETURNING payment_id, transaction_id
),

unbooked AS (
    DELETE FROM "transaction"
    WHERE transaction_id IN (SELECT transaction_id FROM unpaid)
    RETURNING transaction_id
)

DELETE FROM sales_order
WHERE sales_order_id = %(sales_order_id)s
RETURNING
    sales_order_id,
    (SELECT transaction_id FROM unbooked),
    (SELECT payment_id FROM unpaid);
