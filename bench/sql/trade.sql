-- Purchase orders beside the sales orders of a source, and a transaction and a payment for each order that
-- has none. A payment is made on the day on which it is due; one that is due on its order's day is not, as in
-- the demo's shop.
-- Binds: today, first (the last sales order that has a payment already).
WITH bought AS (
    INSERT INTO purchase_order (
        purchase_order_id, created_at, last_updated, staff_id, counterparty_id, item_code, item_quantity,
        item_unit_price, currency_id, agreed_delivery_date, agreed_payment_date, agreed_delivery_location_id
    )
    SELECT
        sales_order_id,
        created_at,
        created_at,
        staff_id,
        counterparty_id,
        'ITEM' || lpad(mod(units_sold, 1000)::text, 3, '0'),
        units_sold / 100,
        unit_price * 100,
        currency_id,
        agreed_delivery_date,
        agreed_payment_date,
        agreed_delivery_location_id
    FROM sales_order
    WHERE mod(sales_order_id, 5) < 2 AND sales_order_id > %(first)s
    RETURNING *
),

orders AS (
    SELECT
        created_at,
        'SALE' AS transaction_type,
        sales_order_id,
        NULL::integer AS purchase_order_id,
        counterparty_id,
        units_sold * unit_price AS amount,
        currency_id,
        1 AS payment_type_id,
        agreed_payment_date
    FROM sales_order
    WHERE sales_order_id > %(first)s
    UNION ALL
    SELECT
        created_at,
        'PURCHASE' AS transaction_type,
        NULL AS sales_order_id,
        purchase_order_id,
        counterparty_id,
        item_quantity * item_unit_price AS amount,
        currency_id,
        3 AS payment_type_id,
        agreed_payment_date
    FROM bought
),

numbered AS (
    SELECT
        orders.*,
        row_number() OVER (ORDER BY created_at) + (SELECT max(transaction_id) FROM transaction) AS place,
        agreed_payment_date::date > created_at::date AND agreed_payment_date::date <= %(today)s AS paid
    FROM orders
),

settled AS (
    INSERT INTO transaction (
        transaction_id, transaction_type, sales_order_id, purchase_order_id, created_at, last_updated
    )
    SELECT
        place,
        transaction_type,
        sales_order_id,
        purchase_order_id,
        created_at,
        created_at
    FROM numbered
)

INSERT INTO payment (
    payment_id, created_at, last_updated, transaction_id, counterparty_id, payment_amount, currency_id,
    payment_type_id, paid, payment_date, company_ac_number, counterparty_ac_number
)
SELECT
    place,
    created_at,
    CASE WHEN paid THEN agreed_payment_date::date + time '07:55' ELSE created_at END,
    place,
    counterparty_id,
    amount,
    currency_id,
    payment_type_id,
    paid,
    agreed_payment_date,
    52923196,
    32957646
FROM numbered;
