-- The first and the last batch, until when the warehouse is up to date, and the rows that it has rejected.
-- Binds: schema.
SELECT
    w.up_to_date_at,
    (SELECT max(b.snapshot_at) FROM etl.batch AS b WHERE b.schema_name = w.schema_name) AS last_batch,
    (SELECT min(b.snapshot_at) FROM etl.batch AS b WHERE b.schema_name = w.schema_name) AS first_batch,
    (
        SELECT count(*) FROM etl.rejected AS r
        WHERE r.schema_name = w.schema_name AND NOT r.resolved
    ) AS rejected_rows
FROM etl.watermark AS w
WHERE w.schema_name = %(schema)s
