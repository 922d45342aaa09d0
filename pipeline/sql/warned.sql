-- The checks that warned in a batch of a schema, or in its last one.
-- Binds: schema, batch (NULL for the last one).
SELECT
    warned.value ->> 'name' AS name,
    warned.value ->> 'meaning' AS meaning,
    (warned.value ->> 'rows')::bigint AS rows,
    warned.value ->> 'error' AS error
FROM etl.batch AS b
CROSS JOIN LATERAL jsonb_array_elements(b.checks) AS warned
WHERE
    b.schema_name = %(schema)s
    AND b.batch_id = COALESCE(
        %(batch)s, (SELECT batch_id FROM etl.watermark WHERE schema_name = %(schema)s)
    )
ORDER BY warned.value ->> 'name'
