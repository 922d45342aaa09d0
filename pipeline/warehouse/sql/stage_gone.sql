-- Keys of rows that left the model's result.
DROP TABLE IF EXISTS pg_temp.gone_keys;
CREATE TEMP TABLE gone_keys ON COMMIT DROP AS
SELECT {key}
FROM {table}
WITH NO DATA
