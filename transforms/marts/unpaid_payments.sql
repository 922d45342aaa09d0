-- One row per payment that is not paid: what counterparties owe us (receivable: sales and refunds of
-- purchases) and what we owe them (payable: purchases and refunds of sales). Each order has one payment of
-- its whole amount.
-- columns:
-- payment_id: the payment
-- transaction_id: leads to the order through dim_transaction
-- direction: receivable or payable; amounts of the two do not add up
-- payment_type_name: SALES_RECEIPT, SALES_REFUND, PURCHASE_PAYMENT or PURCHASE_REFUND
-- counterparty_id: who owes or is owed
-- currency_id: the currency
-- amount: can be summed within a direction and a currency
-- due_on: the day on which the payment is due, as agreed in the order
-- days_overdue: days from the due date to the day shown; negative: not yet due
-- age_band: not yet due, 1 to 30 days, 31 to 60 days, 61 to 90 days or over 90 days after the due date
SELECT
    payments.payment_id,
    payments.transaction_id,
    CASE
        WHEN types.payment_type_name IN ('SALES_RECEIPT', 'PURCHASE_REFUND') THEN 'receivable'
        ELSE 'payable'
    END AS direction,
    types.payment_type_name,
    payments.counterparty_id,
    payments.currency_id,
    payments.payment_amount AS amount,
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
WHERE NOT payments.paid
