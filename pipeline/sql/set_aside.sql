-- Rows that are set aside now, by table and reason, the most first; those of one batch, where it is named.
-- Binds: batch.
SELECT
    table_name AS "table",
    reason,
    count(*) AS rows,
    min(first_batch) AS first_batch
FROM etl.rejected
WHERE NOT resolved AND (%(batch)s::text IS NULL OR first_batch = %(batch)s)
GROUP BY table_name, reason
ORDER BY count(*) DESC, table_name, reason
