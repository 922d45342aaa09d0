-- One row per payment that is not paid and that we owe a supplier, or a customer for a refund. An order has
-- one payment of its whole amount.
-- columns:
-- payment_id: the payment
-- transaction_id: the transaction of the payment and its order
-- sales_order_id: the sales order; NULL for a purchase
-- purchase_order_id: the purchase order; NULL for a sale
-- counterparty_id: whom we owe
-- counterparty_name: legal name of the counterparty
-- currency_code: ISO 4217 code of the currency; amounts of different currencies do not add up
-- amount: can be summed within a currency
-- amount_reporting: amount in the reporting currency, at the rate of the day shown; NULL without a rate
-- due_on: the day on which the payment is due, as agreed in the order
-- days_overdue: days from the due date to the day shown; negative: not yet due
-- age_band: not yet due, 1 to 30 days, 31 to 60 days, 61 to 90 days or over 90 days after the due date
SELECT
    unpaid.payment_id,
    unpaid.transaction_id,
    transactions.sales_order_id,
    transactions.purchase_order_id,
    unpaid.counterparty_id,
    counterparties.counterparty_legal_name AS counterparty_name,
    currencies.currency_code,
    unpaid.amount,
    unpaid.amount * rates.rate AS amount_reporting,
    unpaid.due_on,
    unpaid.days_overdue,
    unpaid.age_band
FROM unpaid_payments AS unpaid
LEFT JOIN dim_transaction AS transactions ON unpaid.transaction_id = transactions.transaction_id
LEFT JOIN dim_counterparty AS counterparties ON unpaid.counterparty_id = counterparties.counterparty_id
LEFT JOIN dim_currency AS currencies ON unpaid.currency_id = currencies.currency_id
LEFT JOIN exchange_rates AS rates
    ON unpaid.currency_id = rates.currency_id AND rates.day = (SELECT day FROM today)
WHERE unpaid.direction = 'payable'
