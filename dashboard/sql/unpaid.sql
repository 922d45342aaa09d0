-- Unpaid and overdue amounts by currency.
-- Names: view, condition. Binds: what the condition binds.
SELECT
    currency_code,
    sum(amount) AS amount,
    sum(amount) FILTER (WHERE days_overdue > 0) AS overdue
FROM {view}
WHERE {condition}
GROUP BY currency_code
ORDER BY currency_code
