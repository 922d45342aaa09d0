-- Create the table of added columns: for each row of a batch its key, its values and the batch's time.
-- Names: columns (the key and the added columns), table.
DROP TABLE IF EXISTS pg_temp.added;

CREATE TEMP TABLE added ON COMMIT DROP AS
SELECT
    {columns},
    recorded_at
FROM {table}
WITH NO DATA
