-- One row per sales order that is open: its payment is not paid, or the day for which delivery is agreed has
-- not come. The source has no actual day of delivery.
-- columns:
-- sales_order_id: the order
-- day: the day on which the order was placed
-- staff_id: who took the order
-- counterparty_id: the customer
-- counterparty_name: legal name of the customer
-- design_id: the design that is sold
-- currency_code: ISO 4217 code of the currency; amounts of different currencies do not add up
-- units: units sold; can be summed
-- revenue: units times unit price; can be summed within a currency
-- revenue_reporting: revenue in the reporting currency, at the rate of the order's day; NULL without a rate
-- unpaid_amount: what the customer still has to pay; 0 if all is paid
-- unpaid_amount_reporting: the same in the reporting currency, at the rate of the day shown
-- due_on: the day on which the payment is due
-- agreed_delivery_date: the day for which delivery is agreed
-- is_paid: whether the order's payment is paid
-- is_delivery_due: whether the agreed day of delivery has come
WITH receipts AS (
    SELECT
        payments.transaction_id,
        payments.paid,
        payments.payment_amount
    FROM fact_payment AS payments
    INNER JOIN dim_payment_type AS types ON payments.payment_type_id = types.payment_type_id
    WHERE types.payment_type_name = 'SALES_RECEIPT'
),

-- Receipts are summed up after the join, so that a condition on the day reaches the orders before it.
orders AS (
    SELECT
        sales.sales_order_id,
        sales.created_date,
        sales.sales_staff_id,
        sales.counterparty_id,
        sales.design_id,
        sales.currency_id,
        sales.units_sold,
        sales.unit_price,
        sales.agreed_payment_date,
        sales.agreed_delivery_date,
        count(receipts.paid) > 0 AND bool_and(receipts.paid) AS is_paid,
        CASE
            WHEN count(receipts.paid) = 0 THEN sales.units_sold * sales.unit_price
            ELSE COALESCE(sum(receipts.payment_amount) FILTER (WHERE NOT receipts.paid), 0)
        END AS unpaid_amount,
        sales.agreed_delivery_date <= (SELECT day FROM today) AS is_delivery_due
    FROM fact_sales_order AS sales
    LEFT JOIN dim_transaction AS transactions ON sales.sales_order_id = transactions.sales_order_id
    LEFT JOIN receipts ON transactions.transaction_id = receipts.transaction_id
    GROUP BY
        sales.sales_order_id,
        sales.created_date,
        sales.sales_staff_id,
        sales.counterparty_id,
        sales.design_id,
        sales.currency_id,
        sales.units_sold,
        sales.unit_price,
        sales.agreed_payment_date,
        sales.agreed_delivery_date
)

SELECT
    orders.sales_order_id,
    orders.created_date AS day,
    orders.sales_staff_id AS staff_id,
    orders.counterparty_id,
    counterparties.counterparty_legal_name AS counterparty_name,
    orders.design_id,
    currencies.currency_code,
    orders.units_sold AS units,
    orders.units_sold * orders.unit_price AS revenue,
    orders.units_sold * orders.unit_price * rates.rate AS revenue_reporting,
    orders.unpaid_amount,
    orders.unpaid_amount * rates_now.rate AS unpaid_amount_reporting,
    orders.agreed_payment_date AS due_on,
    orders.agreed_delivery_date,
    orders.is_paid,
    orders.is_delivery_due
FROM orders
LEFT JOIN dim_counterparty AS counterparties ON orders.counterparty_id = counterparties.counterparty_id
LEFT JOIN dim_currency AS currencies ON orders.currency_id = currencies.currency_id
LEFT JOIN exchange_rates AS rates
    ON orders.created_date = rates.day AND orders.currency_id = rates.currency_id
LEFT JOIN exchange_rates AS rates_now
    ON orders.currency_id = rates_now.currency_id AND rates_now.day = (SELECT day FROM today)
WHERE NOT (orders.is_paid AND orders.is_delivery_due)
