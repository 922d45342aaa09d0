-- A version for every row that differs from the latest version of its key.
WITH new AS MATERIALIZED (
    SELECT {staged_columns}, t.recorded_at IS NULL AS is_first
    FROM {stage} AS s
    LEFT JOIN LATERAL (
        SELECT *
        FROM {table} AS t
        WHERE {same_key}
        ORDER BY t.recorded_at DESC
        LIMIT 1
    ) AS t ON true
    WHERE t.recorded_at IS NULL OR t.deleted OR {differs}
),

added AS (
    INSERT INTO {table} ({columns}, recorded_at, deleted)
    SELECT {columns}, %(at)s, false
    FROM new
)

SELECT count(*) FILTER (WHERE is_first), count(*) FILTER (WHERE NOT is_first)
FROM new
