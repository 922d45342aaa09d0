-- One row per counterparty, currency and age band with payments that are not paid and that we owe a
-- supplier, or a customer for a refund.
-- columns:
-- counterparty_id: whom we owe
-- counterparty_name: legal name of the counterparty
-- currency_code: ISO 4217 code of the currency; amounts of different currencies do not add up
-- age_band: not yet due, 1 to 30 days, 31 to 60 days, 61 to 90 days or over 90 days after the due date
-- payments: number of payments; can be summed
-- amount: can be summed within a currency
-- amount_reporting: amount in the reporting currency, at the rate of the day shown; NULL without a rate
-- most_days_overdue: days overdue of the oldest payment; orders the age bands
WITH totals AS (
    SELECT
        counterparty_id,
        currency_id,
        age_band,
        count(*) AS payments,
        sum(amount) AS amount,
        max(days_overdue) AS most_days_overdue
    FROM unpaid_payments
    WHERE direction = 'payable'
    GROUP BY counterparty_id, currency_id, age_band
)

SELECT
    totals.counterparty_id,
    counterparties.counterparty_legal_name AS counterparty_name,
    currencies.currency_code,
    totals.age_band,
    totals.payments,
    totals.amount,
    totals.amount * rates.rate AS amount_reporting,
    totals.most_days_overdue
FROM totals
LEFT JOIN dim_counterparty AS counterparties ON totals.counterparty_id = counterparties.counterparty_id
LEFT JOIN dim_currency AS currencies ON totals.currency_id = currencies.currency_id
LEFT JOIN exchange_rates AS rates
    ON totals.currency_id = rates.currency_id AND rates.day = (SELECT day FROM today)
