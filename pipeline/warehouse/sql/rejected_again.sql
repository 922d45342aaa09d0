-- Rows that were tried again in this batch and rejected again.
UPDATE etl.rejected
SET last_batch = %(batch)s
WHERE schema_name = %(schema)s AND table_name = %(table_name)s AND waits AND NOT resolved
