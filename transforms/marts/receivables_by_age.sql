-- One row per counterparty, currency and age band with payments that are not paid and that a customer owes
-- us, or a supplier for a refund: sums of receivables. Debts of customers and refunds cannot
-- be told apart here.
-- question: How much are we owed (debt, outstanding), by how long it is overdue?
-- columns:
-- counterparty_id: who owes us
-- counterparty_name: legal name of the counterparty
-- currency_code: ISO 4217 code of the currency; amounts of different currencies do not add up
-- age_band: not yet due, 1 to 30 days, 31 to 60 days, 61 to 90 days or over 90 days after the due date
-- payments: number of payments; can be summed
-- amount: can be summed within a currency
-- amount_reporting: amount in the reporting currency, at the rate of the day shown; NULL without a rate
-- most_days_overdue: days overdue of the oldest payment; orders the age bands
SELECT
    counterparty_id,
    counterparty_name,
    currency_code,
    age_band,
    payments,
    amount,
    amount_reporting,
    most_days_overdue
FROM unpaid_by_age
WHERE direction = 'receivable'
