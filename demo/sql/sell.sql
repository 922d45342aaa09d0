-- A sales order with its transaction and its payment: all of them or none.
WITH ordered AS (
    INSERT INTO sales_order (
        created_at, last_updated, design_id, staff_id, counterparty_id, units_sold, unit_price,
        currency_id, agreed_delivery_date, agreed_payment_date, agreed_delivery_location_id
    )
    VALUES (
        %(at)s, %(at)s, %(design_id)s, %(staff_id)s, %(counterparty_id)s, %(quantity)s, %(price)s,
        %(currency_id)s, %(delivery)s, %(payment)s, %(location_id)s
    )
    RETURNING sales_order_id, units_sold * unit_price AS amount
),

booked AS (
    INSERT INTO "transaction" (transaction_type, sales_order_id, created_at, last_updated)
    SELECT 'SALE', sales_order_id, %(at)s, %(at)s
    FROM ordered
    RETURNING transaction_id
)

INSERT INTO payment (
    created_at, last_updated, transaction_id, counterparty_id, payment_amount, currency_id,
    payment_type_id, paid, payment_date, company_ac_number, counterparty_ac_number
)
SELECT
    %(at)s, %(at)s, transaction_id, %(counterparty_id)s, amount, %(currency_id)s,
    1, FALSE, %(payment)s, %(company_account)s, %(counterparty_account)s
FROM ordered, booked
RETURNING (SELECT sales_order_id FROM ordered), transaction_id, payment_id;
