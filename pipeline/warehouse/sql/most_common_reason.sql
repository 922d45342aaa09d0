-- The most common reason among the rows of a table that this batch rejects.
-- Binds: schema, table_name, batch.
SELECT reason
FROM etl.rejected
WHERE schema_name = %(schema)s AND table_name = %(table_name)s AND NOT resolved AND last_batch = %(batch)s
GROUP BY reason
ORDER BY count(*) DESC, reason
LIMIT 1
