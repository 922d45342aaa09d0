-- Find a row of a batch that has other values in added columns than the one before and no version, or a
-- version that is no row of a batch.
-- Names: added (the added columns of s), key (that of s), table, same_key (a condition on t and s).
WITH compared AS (
    SELECT
        s.ctid AS place,
        row({added})::text AS shown,
        lag(row({added})::text) OVER (PARTITION BY {key} ORDER BY s.recorded_at) AS shown_before
    FROM pg_temp.added AS s
)

SELECT 1 AS found
FROM compared AS c
INNER JOIN pg_temp.added AS s ON c.place = s.ctid
WHERE
    c.shown IS DISTINCT FROM c.shown_before
    AND NOT EXISTS (SELECT FROM {table} AS t WHERE {same_key} AND t.recorded_at = s.recorded_at)
UNION ALL
SELECT 1
FROM {table} AS t
WHERE
    NOT t.deleted
    AND t.recorded_at > '-infinity'
    AND NOT EXISTS (SELECT FROM pg_temp.added AS s WHERE {same_key} AND s.recorded_at = t.recorded_at)
LIMIT 1
