-- Unpaid amounts by direction, currency and age, the youngest first.
-- Names: view, condition. Binds: what the condition binds.
SELECT
    direction,
    currency_code,
    age_band,
    sum(amount) AS amount,
    max(most_days_overdue) AS days_overdue
FROM {view}
WHERE {condition}
GROUP BY direction, currency_code, age_band
ORDER BY days_overdue, currency_code
