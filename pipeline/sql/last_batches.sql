-- The last batches, the latest first, with their row counts over all tables.
-- Binds: schema, number.
WITH latest AS (
    SELECT batch_id, snapshot_at, loaded_at, rows
    FROM etl.batch
    WHERE schema_name = %(schema)s
    ORDER BY batch_id DESC
    LIMIT %(number)s
)

SELECT
    latest.batch_id,
    latest.snapshot_at,
    latest.loaded_at,
    COALESCE(sum((counts.value ->> 'added')::bigint), 0)::bigint AS added,
    COALESCE(sum((counts.value ->> 'changed')::bigint), 0)::bigint AS changed,
    COALESCE(sum((counts.value ->> 'deleted')::bigint), 0)::bigint AS deleted,
    COALESCE(sum((counts.value ->> 'rejected')::bigint), 0)::bigint AS rejected
FROM latest
LEFT JOIN LATERAL jsonb_each(latest.rows) AS counts ON true
GROUP BY latest.batch_id, latest.snapshot_at, latest.loaded_at
ORDER BY latest.batch_id DESC
