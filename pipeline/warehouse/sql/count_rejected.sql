-- How many rows of a table this batch rejects.
-- Binds: schema, table_name, batch.
SELECT count(*)
FROM etl.rejected
WHERE schema_name = %(schema)s AND table_name = %(table_name)s AND NOT resolved AND last_batch = %(batch)s
