-- One row per payment that is not paid: what counterparties owe us (receivable: sales and refunds of
-- purchases) and what we owe them (payable: purchases and refunds of sales). Each order has one payment of
-- its whole amount. receivables and payables are its two halves, and unpaid_by_age has its sums.
-- columns:
-- payment_id: the payment
-- transaction_id: the transaction of the payment and its order
-- sales_order_id: the sales order; NULL for a purchase
-- purchase_order_id: the purchase order; NULL for a sale
-- direction: receivable or payable; amounts of the two do not add up
-- payment_type_name: SALES_RECEIPT, SALES_REFUND, PURCHASE_PAYMENT or PURCHASE_REFUND
-- counterparty_id: who owes or is owed
-- counterparty_name: legal name of the counterparty
-- currency_id: the currency
-- currency_code: ISO 4217 code of the currency; amounts of different currencies do not add up
-- amount: can be summed within a direction and a currency
-- amount_reporting: amount in the reporting currency, at the rate of the day shown; NULL without a rate
-- due_on: the day on which the payment is due, as agreed in the order
-- days_overdue: days from the due date to the day shown; negative: not yet due
-- age_band: not yet due, 1 to 30 days, 31 to 60 days, 61 to 90 days or over 90 days after the due date
SELECT
    payments.payment_id,
    payments.transaction_id,
    -- As sub-SELECTs they cost nothing where they are not shown.
    (
        SELECT t.sales_order_id FROM dim_transaction AS t WHERE payments.transaction_id = t.transaction_id
    ) AS sales_order_id,
    (
        SELECT t.purchase_order_id FROM dim_transaction AS t WHERE payments.transaction_id = t.transaction_id
    ) AS purchase_order_id,
    CASE
        WHEN types.payment_type_name IN ('SALES_RECEIPT', 'PURCHASE_REFUND') THEN 'receivable'
        ELSE 'payable'
    END AS direction,
    types.payment_type_name,
    payments.counterparty_id,
    counterparties.counterparty_name,
    payments.currency_id,
    currencies.currency_code,
    payments.payment_amount AS amount,
    payments.payment_amount * rates.rate AS amount_reporting,
    payments.payment_date AS due_on,
    today.day - payments.payment_date AS days_overdue,
    CASE
        WHEN payments.payment_date >= today.day THEN 'not yet due'
        WHEN payments.payment_date >= today.day - 30 THEN '1 to 30 days'
        WHEN payments.payment_date >= today.day - 60 THEN '31 to 60 days'
        WHEN payments.payment_date >= today.day - 90 THEN '61 to 90 days'
        ELSE 'over 90 days'
    END AS age_band
FROM fact_payment AS payments
INNER JOIN dim_payment_type AS types ON payments.payment_type_id = types.payment_type_id
CROSS JOIN today
-- DISTINCT ON tells Postgres that a join finds one row at most, so that it leaves out the joins that a query
-- does not need. They are no CTEs, as Postgres finds the oldest payments by an index only without these.
LEFT JOIN
    (
        SELECT DISTINCT ON (counterparty_id)
            counterparty_id,
            counterparty_legal_name AS counterparty_name
        FROM dim_counterparty
        ORDER BY counterparty_id
    ) AS counterparties
    ON payments.counterparty_id = counterparties.counterparty_id
LEFT JOIN
    (
        SELECT DISTINCT ON (currency_id)
            currency_id,
            currency_code
        FROM dim_currency
        ORDER BY currency_id
    ) AS currencies
    ON payments.currency_id = currencies.currency_id
LEFT JOIN
    (
        SELECT DISTINCT ON (currency_id)
            currency_id,
            rate
        FROM exchange_rates
        WHERE day = (SELECT day FROM today)
        ORDER BY currency_id
    ) AS rates
    ON payments.currency_id = rates.currency_id
WHERE NOT payments.paid
