-- One row per payment that became paid after its due date. The day on which it became paid is the source's
-- last_updated of the first version that is paid.
-- question: Who pays late, and by how many days on average?
-- columns:
-- payment_id: the payment
-- transaction_id: the transaction of the payment and its order
-- sales_order_id: the sales order; NULL for a purchase
-- purchase_order_id: the purchase order; NULL for a sale
-- payment_type_name: SALES_RECEIPT, SALES_REFUND, PURCHASE_PAYMENT or PURCHASE_REFUND
-- counterparty_id: who paid us or was paid
-- counterparty_name: legal name of the counterparty
-- currency_code: ISO 4217 code of the currency; amounts of different currencies do not add up
-- amount: can be summed within a payment type and a currency
-- amount_reporting: amount in the reporting currency, at the rate of the day of payment; NULL without a rate
-- due_on: the day on which the payment was due, as agreed in the order
-- paid_on: the day on which the payment became paid
-- days_late: days from the due date to the payment
WITH earlier AS (
    SELECT
        payment_id,
        paid,
        last_updated_date,
        valid_from,
        max(valid_from) FILTER (WHERE NOT paid) OVER (PARTITION BY payment_id) AS last_unpaid
    FROM fact_payment_history
    WHERE valid_to IS NOT NULL AND valid_to <= (SELECT etl.looked_at()) AND NOT deleted
),

first_paid AS (
    SELECT
        payment_id,
        min(last_updated_date) AS paid_on
    FROM earlier
    WHERE paid AND (last_unpaid IS NULL OR valid_from > last_unpaid)
    GROUP BY payment_id
),

late AS (
    SELECT
        payments.*,
        COALESCE(first_paid.paid_on, payments.last_updated_date) AS paid_on
    FROM fact_payment AS payments
    LEFT JOIN first_paid ON payments.payment_id = first_paid.payment_id
    -- The last version cannot be older than the first that is paid.
    WHERE payments.paid AND payments.last_updated_date > payments.payment_date
)

SELECT
    late.payment_id,
    late.transaction_id,
    transactions.sales_order_id,
    transactions.purchase_order_id,
    types.payment_type_name,
    late.counterparty_id,
    counterparties.counterparty_legal_name AS counterparty_name,
    currencies.currency_code,
    late.payment_amount AS amount,
    late.payment_amount * rates.rate AS amount_reporting,
    late.payment_date AS due_on,
    late.paid_on,
    late.paid_on - late.payment_date AS days_late
FROM late
LEFT JOIN dim_transaction AS transactions ON late.transaction_id = transactions.transaction_id
LEFT JOIN dim_payment_type AS types ON late.payment_type_id = types.payment_type_id
LEFT JOIN dim_counterparty AS counterparties ON late.counterparty_id = counterparties.counterparty_id
LEFT JOIN dim_currency AS currencies ON late.currency_id = currencies.currency_id
LEFT JOIN exchange_rates AS rates ON late.currency_id = rates.currency_id AND late.paid_on = rates.day
WHERE late.paid_on > late.payment_date
