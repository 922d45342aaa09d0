-- When a batch last changed each table of a schema, by the counts of etl.batch.
-- Binds: schema.
SELECT
    r.key AS table_name,
    max(b.snapshot_at) AS changed_at
FROM etl.batch AS b
CROSS JOIN LATERAL jsonb_each(b.rows) AS r
WHERE
    b.schema_name = %(schema)s
    AND (r.value ->> 'added')::bigint + (r.value ->> 'changed')::bigint + (r.value ->> 'deleted')::bigint > 0
GROUP BY r.key
