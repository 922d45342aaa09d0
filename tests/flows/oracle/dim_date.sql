-- Every day from the first to the last that a fact uses; 2022 is there in any case.
WITH used (on_day) AS (
    SELECT created_at::date FROM sales_order
    UNION
    SELECT last_updated::date FROM sales_order
    UNION
    SELECT agreed_payment_date::date FROM sales_order
    UNION
    SELECT agreed_delivery_date::date FROM sales_order
    UNION
    SELECT created_at::date FROM purchase_order
    UNION
    SELECT last_updated::date FROM purchase_order
    UNION
    SELECT agreed_payment_date::date FROM purchase_order
    UNION
    SELECT agreed_delivery_date::date FROM purchase_order
    UNION
    SELECT created_at::date FROM payment
    UNION
    SELECT last_updated::date FROM payment
    UNION
    SELECT payment_date::date FROM payment
),

bounds (first_day, last_day) AS (
    SELECT
        LEAST(min(on_day), '2022-01-01'),
        GREATEST(max(on_day), '2022-12-31')
    FROM used
)

SELECT
    day::date AS date_id,
    EXTRACT(YEAR FROM day)::integer AS year,
    EXTRACT(MONTH FROM day)::integer AS month,
    EXTRACT(DAY FROM day)::integer AS day,
    EXTRACT(ISODOW FROM day)::integer AS day_of_week,
    to_char(day, 'FMDay') AS day_name,
    to_char(day, 'FMMonth') AS month_name,
    EXTRACT(QUARTER FROM day)::integer AS quarter
FROM bounds
CROSS JOIN generate_series(first_day, last_day, interval '1 day') AS series (day)
