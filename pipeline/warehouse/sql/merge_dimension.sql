-- Update the rows that differ, then insert new ones. One statement does both: references are checked at its
-- end, so rows may refer to each other, and a new row may take a value that an update frees. Returns [added,
-- changed].
-- Names: table, assignments, stage, chosen, same_key, differs, columns, staged_columns.
WITH updated AS (
    UPDATE {table} AS t
    SET {assignments}
    FROM {stage} AS s
    WHERE {chosen} AND {same_key} AND {differs}
    RETURNING 1 AS one
),

changed AS MATERIALIZED (
    SELECT count(*) AS number
    FROM updated
),

added AS (
    INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE
    SELECT {staged_columns}
    FROM {stage} AS s
    WHERE
        {chosen}
        AND NOT EXISTS (SELECT FROM {table} AS t WHERE {same_key})
        -- Evaluated once, before the first row, so all updates are done by then.
        AND (SELECT changed.number FROM changed) >= 0
    RETURNING 1 AS one
)

SELECT ARRAY[(SELECT count(*) FROM added), (SELECT changed.number FROM changed)] AS counts
