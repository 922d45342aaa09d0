-- The reason that most of a table's rows have which this batch has rejected.
SELECT reason
FROM etl.rejected
WHERE schema_name = %(schema)s AND table_name = %(table_name)s AND NOT resolved AND last_batch = %(batch)s
GROUP BY reason
ORDER BY count(*) DESC, reason
LIMIT 1
