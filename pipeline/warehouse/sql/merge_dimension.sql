-- Rows that differ take their new contents; then new rows come. In one statement,
-- at whose end references are checked, so rows may refer to each other; a value given up can be taken.
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
        -- Asked for once, before the first row: all updates are done then.
        AND (SELECT changed.number FROM changed) >= 0
    RETURNING 1 AS one
)

SELECT ARRAY[(SELECT count(*) FROM added), (SELECT changed.number FROM changed)] AS counts
