SELECT
    CAST(NULL AS date) AS rate_date,
    CAST(NULL AS integer) AS currency_id,
    CAST(NULL AS numeric) AS rate,
    CAST(NULL AS varchar) AS reporting_currency
WHERE false
