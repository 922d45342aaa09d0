-- Rows that are set aside now, by table and reason, the most first; those of one batch, where it is named.
-- Earlier versions wrote values into reasons, between the column and what is wrong: those are cut off.
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
