-- Resolve rejected rows that this batch no longer rejects. A transform lists all rows that it rejects; a
-- complete batch also includes all that Postgres rejects.
-- Names: complete (whether the batch is complete).
-- Binds: schema, table_name, batch.
UPDATE etl.rejected
SET resolved = true
WHERE
    schema_name = %(schema)s
    AND table_name = %(table_name)s
    AND NOT resolved
    AND last_batch <> %(batch)s
    AND ({complete} OR NOT by_load)
