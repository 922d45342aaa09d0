-- A version for every row that differs from the latest version of its key; how many are first ones, and not.
WITH new AS MATERIALIZED (
    SELECT {staged_columns}, t.recorded_at IS NULL AS {is_first}
    FROM {stage} AS s
    LEFT JOIN LATERAL (
        SELECT *
        FROM {table} AS t
        WHERE {same_key}
        ORDER BY t.recorded_at DESC
        LIMIT 1
    ) AS t ON true
    WHERE {chosen} AND (t.recorded_at IS NULL OR t.deleted OR {differs})
),

added AS (
    INSERT INTO {table} ({columns}, recorded_at, deleted) OVERRIDING SYSTEM VALUE
    SELECT {columns}, %(at)s, false
    FROM new
)

SELECT ARRAY[count(*) FILTER (WHERE {is_first}), count(*) FILTER (WHERE NOT {is_first})] AS counts
FROM new
