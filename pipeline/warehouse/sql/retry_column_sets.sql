-- The distinct sets of columns among a table's rejected rows that can be retried.
-- Names: now (whether rows of this batch count).
-- Binds: schema, table_name, batch.
SELECT DISTINCT array(SELECT jsonb_object_keys(r."row") ORDER BY 1)
FROM etl.rejected AS r
WHERE
    r.schema_name = %(schema)s
    AND r.table_name = %(table_name)s
    AND r.waits
    AND NOT r.resolved
    AND ({now} OR r.last_batch <> %(batch)s)
