-- One row per day and currency for which a rate holds: from the day of its first rate on. A rate holds until
-- the currency's next one. Rates cannot be summed.
-- columns:
-- day: the day on which the rate holds
-- currency_id: the currency that is converted
-- rate: units of the reporting currency per unit of this currency
WITH periods AS (
    SELECT
        currency_id,
        rate_date,
        rate,
        lead(rate_date) OVER (PARTITION BY currency_id ORDER BY rate_date) AS next_date
    FROM dim_exchange_rate
    WHERE reporting_currency = (SELECT currency_code FROM reporting_currency)
),

ends AS (
    SELECT GREATEST((SELECT max(date_id) FROM dim_date), (SELECT day FROM today)) AS last_day
)

-- DISTINCT ON tells Postgres that a join finds one rate at most, so that it neither sorts the orders for the
-- join nor joins where a query needs no rate.
SELECT DISTINCT ON (day, periods.currency_id)
    periods.rate_date + place.number AS day,
    periods.currency_id,
    periods.rate
FROM periods
CROSS JOIN
    LATERAL generate_series(
        0, COALESCE(periods.next_date - 1, (SELECT last_day FROM ends)) - periods.rate_date
    ) AS place (number)
WHERE (SELECT day FROM today) IS NOT NULL
ORDER BY day ASC, periods.currency_id ASC
