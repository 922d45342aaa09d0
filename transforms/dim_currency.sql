-- One row per currency, with its name in ISO 4217.
SELECT
    currency.currency_id,
    currency.currency_code,
    iso_4217.name AS currency_name
FROM currency
LEFT JOIN iso_4217 ON currency.currency_code = iso_4217.code
