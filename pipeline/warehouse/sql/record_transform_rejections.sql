-- Record rows that the transform rejected. They are not retried: source, model or table must change.
-- Binds: schema, table_name, batch.
INSERT INTO etl.rejected (schema_name, table_name, key, reason, "row", waits, first_batch, last_batch)
SELECT %(schema)s, %(table_name)s, key, reason, "row", false, %(batch)s, %(batch)s
FROM pg_temp.transform_rejections
ON CONFLICT (schema_name, table_name, key) WHERE NOT resolved
DO UPDATE SET
    reason = excluded.reason,
    "row" = excluded."row",
    waits = excluded.waits,
    by_load = excluded.by_load,
    last_batch = excluded.last_batch
