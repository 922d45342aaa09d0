-- One row per payment that is not paid and that we owe a supplier, or a customer for a refund: the payable
-- half of unpaid_payments. An order has one payment of its whole amount. Debts to suppliers alone are the
-- rows WHERE purchase_order_id IS NOT NULL; payables_by_age has sums of both.
-- columns:
-- payment_id: the payment
-- transaction_id: the transaction of the payment and its order
-- sales_order_id: the sales order that is refunded; otherwise NULL
-- purchase_order_id: the purchase order; NULL for a refund to a customer
-- counterparty_id: whom we owe
-- counterparty_name: legal name of the counterparty
-- currency_code: ISO 4217 code of the currency; amounts of different currencies do not add up
-- amount: can be summed within a currency
-- amount_reporting: amount in the reporting currency, at the rate of the day shown; NULL without a rate
-- due_on: the day on which the payment is due, as agreed in the order
-- days_overdue: days from the due date to the day shown; negative: not yet due
-- age_band: not yet due, 1 to 30 days, 31 to 60 days, 61 to 90 days or over 90 days after the due date
SELECT
    payment_id,
    transaction_id,
    sales_order_id,
    purchase_order_id,
    counterparty_id,
    counterparty_name,
    currency_code,
    amount,
    amount_reporting,
    due_on,
    days_overdue,
    age_band
FROM unpaid_payments
WHERE direction = 'payable'
