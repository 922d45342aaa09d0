-- Rows that the transform found unfit. They wait for nothing: the source has to change them.
INSERT INTO etl.rejected (table_name, key, reason, "row", waits, first_batch, last_batch)
SELECT %(table_name)s, key, reason, "row", false, %(batch)s, %(batch)s
FROM pg_temp.unfit
ON CONFLICT (table_name, key) WHERE NOT resolved
DO UPDATE SET
    reason = excluded.reason,
    "row" = excluded."row",
    waits = excluded.waits,
    last_batch = excluded.last_batch
