-- One row per payment. payment_amount can be summed within one currency, and separately for
-- sales (types 1 and 2) and purchases (3 and 4). dim_transaction leads to its order.
-- key: payment_id
SELECT
    payment_id,
    CAST(created_at AS DATE) AS created_date,
    CAST(created_at AS TIME) AS created_time,
    CAST(last_updated AS DATE) AS last_updated_date,
    CAST(last_updated AS TIME) AS last_updated_time,
    transaction_id,
    counterparty_id,
    payment_amount,
    currency_id,
    payment_type_id,
    paid,
    payment_date
FROM payment
