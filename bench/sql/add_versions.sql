-- Ten versions of each of 100,000 designs, one an hour; the last is the present one.
-- Names: moment.
INSERT INTO dim_design_version (valid_from, valid_to, design_id, design_name, file_location, file_name)
SELECT
    {moment}::timestamptz - hour * interval '1 hour',
    CASE WHEN hour > 0 THEN {moment}::timestamptz - (hour - 1) * interval '1 hour' END,
    10000000 + design,
    'design ' || design,
    'location ' || design % 10,
    'version ' || hour
FROM generate_series(0, 99999) AS design
CROSS JOIN generate_series(0, 9) AS hour;
