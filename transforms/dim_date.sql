-- One row per day, without gaps: from 2022-01-01, or the first date that a fact has had if that is
-- earlier, to the last one, which may be an agreed day after today. It is not the last day with sales.
-- reads: changes
-- Each batch adds the days between its own dates and 2022, the first year of the shop, so
-- that the ranges of all batches touch. Days outside 1900 to 2199 are left out: a fact that
-- has one is rejected as a likely typing error.
WITH used AS (
    SELECT unnest([created_date, last_updated_date, agreed_payment_date, agreed_delivery_date]) AS used_date
    FROM fact_sales_order
    UNION ALL
    SELECT unnest([created_date, last_updated_date, agreed_payment_date, agreed_delivery_date]) AS used_date
    FROM fact_purchase_order
    UNION ALL
    SELECT unnest([created_date, last_updated_date, payment_date]) AS used_date
    FROM fact_payment
),

bounds AS (
    SELECT
        LEAST(min(used_date), DATE '2022-01-01') AS first_date,
        GREATEST(max(used_date), DATE '2022-12-31') AS last_date
    FROM used
    WHERE used_date BETWEEN DATE '1900-01-01' AND DATE '2199-12-31'
),

days AS (
    SELECT CAST(unnest(generate_series(first_date, last_date, INTERVAL 1 DAY)) AS DATE) AS date_id
    FROM bounds
)

SELECT
    date_id,
    CAST(year(date_id) AS INTEGER) AS year,
    CAST(month(date_id) AS INTEGER) AS month,
    CAST(day(date_id) AS INTEGER) AS day,
    CAST(isodow(date_id) AS INTEGER) AS day_of_week,
    dayname(date_id) AS day_name,
    monthname(date_id) AS month_name,
    CAST(quarter(date_id) AS INTEGER) AS quarter
FROM days
