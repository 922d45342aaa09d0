-- The currencies without their names, which Postgres does not know.
SELECT
    currency_id,
    currency_code,
    currency_code AS currency_name
FROM currency
