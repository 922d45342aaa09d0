-- Create the table of keys that left the model's result.
-- Names: key, table.
DROP TABLE IF EXISTS pg_temp.deleted_keys;
CREATE TEMP TABLE deleted_keys ON COMMIT DROP AS
SELECT {key}
FROM {table}
WITH NO DATA
