-- Rows that are rejected now, by table and reason, the most frequent first; with batch, only those that it
-- was the first to reject. Earlier versions wrote values into reasons; these are cut off.
-- Binds: schema, batch.
WITH shown AS (
    SELECT
        table_name,
        regexp_replace(reason, ': .* (does not fit|is not in) .*', ': see its row in etl.rejected') AS reason,
        first_batch
    FROM etl.rejected
    WHERE schema_name = %(schema)s AND NOT resolved AND (%(batch)s::text IS NULL OR first_batch = %(batch)s)
)

SELECT
    table_name AS "table",
    reason,
    count(*) AS rows,
    min(first_batch) AS first_batch
FROM shown
GROUP BY table_name, reason
ORDER BY count(*) DESC, table_name, reason
