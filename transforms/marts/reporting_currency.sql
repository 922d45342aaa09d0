-- One row if there are exchange rates, otherwise none: the currency of all columns that end in _reporting. It
-- is the one that the newest rate names. Rates into another currency are not used.
-- columns:
-- currency_code: ISO 4217 code of the reporting currency
SELECT reporting_currency AS currency_code
FROM dim_exchange_rate
WHERE (SELECT day FROM today) IS NOT NULL
ORDER BY rate_date DESC, reporting_currency ASC
LIMIT 1
