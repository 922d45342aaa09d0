-- Stage the rejected rows of one set of columns that can be retried.
-- Names: untyped, now (whether rows of this batch count), row_columns.
-- Binds: schema, table_name, batch.
CREATE TEMP TABLE {untyped} ON COMMIT DROP AS
SELECT r.key, r."row"
FROM etl.rejected AS r
WHERE
    r.schema_name = %(schema)s
    AND r.table_name = %(table_name)s
    AND r.waits
    AND NOT r.resolved
    AND ({now} OR r.last_batch <> %(batch)s)
    AND array(SELECT jsonb_object_keys(r."row") ORDER BY 1) = {row_columns}::text[]
