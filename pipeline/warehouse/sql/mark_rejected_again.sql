-- Note this batch as the last one that rejected the retried rows.
-- Binds: batch, schema, table_name.
UPDATE etl.rejected
SET last_batch = %(batch)s
WHERE schema_name = %(schema)s AND table_name = %(table_name)s AND waits AND NOT resolved
