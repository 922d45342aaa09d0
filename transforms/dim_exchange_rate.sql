-- One row per currency and day from which its rate holds, until the currency's next rate. The rates come
-- from seeds/exchange_rate.csv, which is empty by default. Without rates no amount can be converted: columns
-- of marts that end in _reporting are NULL, or 0 if there is no amount. A rate cannot be summed.
SELECT
    exchange_rate.rate_date,
    currency.currency_id,
    exchange_rate.rate,
    exchange_rate.reporting_currency
FROM exchange_rate
LEFT JOIN currency ON exchange_rate.currency_code = currency.currency_code
