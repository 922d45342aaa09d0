SELECT
    currency_id,
    currency_code,
    CASE currency_code
        WHEN 'GBP' THEN 'Pound Sterling'
        WHEN 'USD' THEN 'US Dollar'
        WHEN 'EUR' THEN 'Euro'
    END AS currency_name
FROM currency
