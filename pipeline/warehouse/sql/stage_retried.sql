-- Rejected rows of these columns that may come in now.
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
