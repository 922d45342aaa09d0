-- One row per direction, counterparty, currency and age band with payments that are not paid:
-- sums of unpaid_payments. Orders and refunds cannot be told apart here.
-- columns:
-- direction: receivable (they owe us) or payable (we owe them); amounts of the two do not add up
-- counterparty_id: who owes or is owed
-- counterparty_name: legal name of the counterparty
-- currency_code: ISO 4217 code of the currency; amounts of different currencies do not add up
-- age_band: not yet due, 1 to 30 days, 31 to 60 days, 61 to 90 days or over 90 days after the due date
-- payments: number of payments; can be summed
-- amount: can be summed within a direction and a currency
-- amount_reporting: amount in the reporting currency, at the rate of the day shown; NULL without a rate
-- most_days_overdue: days overdue of the oldest payment; orders the age bands
WITH days AS (
    -- Payments of one day have one age, and there are few days: adding them up first is quicker.
    SELECT
        payment_type_id,
        counterparty_id,
        currency_id,
        payment_date,
        count(*) AS payments,
        sum(payment_amount) AS amount
    FROM fact_payment
    WHERE NOT paid
    GROUP BY payment_type_id, counterparty_id, currency_id, payment_date
),

ages AS (
    SELECT
        days.*,
        CASE
            WHEN types.payment_type_name IN ('SALES_RECEIPT', 'PURCHASE_REFUND') THEN 'receivable'
            ELSE 'payable'
        END AS direction,
        today.day - days.payment_date AS days_overdue,
        CASE
            WHEN days.payment_date >= today.day THEN 'not yet due'
            WHEN days.payment_date >= today.day - 30 THEN '1 to 30 days'
            WHEN days.payment_date >= today.day - 60 THEN '31 to 60 days'
            WHEN days.payment_date >= today.day - 90 THEN '61 to 90 days'
            ELSE 'over 90 days'
        END AS age_band
    FROM days
    INNER JOIN dim_payment_type AS types ON days.payment_type_id = types.payment_type_id
    CROSS JOIN today
),

totals AS (
    SELECT
        direction,
        counterparty_id,
        currency_id,
        age_band,
        CAST(sum(payments) AS bigint) AS payments,
        sum(amount) AS amount,
        max(days_overdue) AS most_days_overdue
    FROM ages
    GROUP BY direction, counterparty_id, currency_id, age_band
)

SELECT
    totals.direction,
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
