-- The days that the sales orders use, in Postgres' own SQL: the model's is DuckDB's.
SELECT
    day::date AS date_id,
    extract(YEAR FROM day)::integer AS year,
    extract(MONTH FROM day)::integer AS month,
    extract(DAY FROM day)::integer AS day,
    extract(ISODOW FROM day)::integer AS day_of_week,
    to_char(day, 'FMDay') AS day_name,
    to_char(day, 'FMMonth') AS month_name,
    extract(QUARTER FROM day)::integer AS quarter
FROM generate_series(timestamp '2022-01-01', timestamp '2029-12-31', interval '1 day') AS day
