-- Compute when each version of a fact ended, for a table that lacks superseded_at or whose key changed.
-- Names: table, key.
UPDATE {table} AS t
SET superseded_at = v.ended
FROM (
    SELECT
        tableoid AS heap,
        ctid AS place,
        lead(recorded_at) OVER (PARTITION BY {key} ORDER BY recorded_at) AS ended
    FROM {table}
) AS v
WHERE t.tableoid = v.heap AND t.ctid = v.place AND t.superseded_at IS DISTINCT FROM v.ended
