-- A purchase order with its transaction and its payment: all of them or none.
WITH ordered AS (
    INSERT INTO purchase_order (
        created_at, last_updated, staff_id, counterparty_id, item_code, item_quantity, item_unit_price,
        currency_id, agreed_delivery_date, agreed_payment_date, agreed_delivery_location_id
    )
    VALUES (
        %(at)s, %(at)s, %(staff_id)s, %(counterparty_id)s, %(item_code)s, %(quantity)s, %(price)s,
        %(currency_id)s, %(delivery)s, %(payment)s, %(location_id)s
    )
    RETURNING purchase_order_id, item_quantity * item_unit_price AS amount
),

booked AS (
    INSERT INTO "transaction" (transaction_type, purchase_order_id, created_at, last_updated)
    SELECT 'PURCHASE', purchase_order_id, %(at)s, %(at)s
    FROM ordered
    RETURNING transaction_id
)

INSERT INTO payment (
    created_at, last_updated, transaction_id, counterparty_id, payment_amount, currency_id,
    payment_type_id, paid, payment_date, company_ac_number, counterparty_ac_number
)
SELECT
    %(at)s, %(at)s, transaction_id, %(counterparty_id)s, amount, %(currency_id)s,
    3, FALSE, %(payment)s, %(company_account)s, %(counterparty_account)s
FROM ordered, booked
RETURNING (SELECT purchase_order_id FROM ordered), transaction_id, payment_id;
