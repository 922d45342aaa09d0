-- Move the versions that earlier releases kept as JSON in etl.superseded.
-- Names: table, name (the table, as a literal), key_json, versions, columns, columns_of_version,
-- columns_of_present.
WITH old AS (
    SELECT
        key,
        superseded_at AS valid_to,
        jsonb_populate_record(NULL::{table}, "row") AS version,
        lag(superseded_at) OVER (PARTITION BY key ORDER BY superseded_at) AS valid_from,
        lead(superseded_at) OVER (PARTITION BY key ORDER BY superseded_at) IS NULL AS is_last
    FROM etl.superseded
    WHERE table_name = {name}
),

present AS (
    SELECT
        {key_json} AS key,
        t.*
    FROM {table} AS t
),

moved AS (
    INSERT INTO {versions} (valid_from, valid_to, deleted, {columns})
    SELECT
        COALESCE(valid_from, '-infinity'),
        valid_to,
        is_last AND NOT EXISTS (SELECT FROM present WHERE present.key = old.key),
        {columns_of_version}
    FROM old
)

INSERT INTO {versions} (valid_from, {columns})
SELECT
    old.valid_to,
    {columns_of_present}
FROM present
INNER JOIN old ON present.key = old.key
WHERE old.is_last
