-- Rows that the last reconciliation found and earlier runs had missed, by table. Binds: schema.
WITH latest AS (
    SELECT rows
    FROM etl.batch
    WHERE schema_name = %(schema)s AND reconcile
    ORDER BY batch_id DESC
    LIMIT 1
),

counted AS (
    SELECT
        counts.key AS table_name,
        COALESCE((counts.value ->> 'missed')::bigint, 0) AS missed
    FROM latest
    CROSS JOIN LATERAL jsonb_each(latest.rows) AS counts
)

SELECT
    table_name,
    missed
FROM counted
WHERE missed > 0
ORDER BY table_name
