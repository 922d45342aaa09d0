-- One row a currency, by the name that ISO 4217 gives it.
SELECT
    currency.currency_id,
    currency.currency_code,
    iso_4217.name AS currency_name
FROM currency
LEFT JOIN iso_4217 ON currency.currency_code = iso_4217.code
