-- When each version of a fact ended, for a table that did not say so, or whose key has changed.
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
