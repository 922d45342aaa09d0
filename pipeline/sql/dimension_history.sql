-- Every version of a dimension's rows. Names are filled in. valid_from is NULL for what
-- a row was when it first came.
CREATE OR REPLACE VIEW {history} AS
SELECT
    lag(valid_to) OVER (PARTITION BY key ORDER BY valid_to) AS valid_from,
    valid_to,
    {columns_of_row}
FROM (
    SELECT key, superseded_at AS valid_to, jsonb_populate_record(NULL::{table}, "row") AS version
    FROM etl.superseded
    WHERE table_name = {name}
    UNION ALL
    SELECT {key_json}, NULL::timestamptz, (d.*)::{table} AS version
    FROM {table} AS d
) AS versions;
