-- A last version for every row whose key left the model's result.
INSERT INTO {table} ({columns}, recorded_at, deleted) OVERRIDING SYSTEM VALUE
SELECT {latest_columns}, %(at)s, true
FROM pg_temp.gone_keys AS s
INNER JOIN LATERAL (
    SELECT *
    FROM {table} AS t
    WHERE {same_key}
    ORDER BY t.recorded_at DESC
    LIMIT 1
) AS t ON true
WHERE NOT t.deleted AND NOT EXISTS (SELECT FROM {stage} AS r WHERE {restaged})
