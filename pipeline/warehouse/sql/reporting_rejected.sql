-- One row per source row that the warehouse could not take and that no later row has replaced.
-- columns:
-- table_name: The table that lacks the row.
-- key: The row's key.
-- reason: Why the row was rejected, without its values.
-- since: The moment of the batch that first rejected it; NULL if that batch is not recorded.
-- is_retried: Whether each batch tries again to load it with these values.
-- Names: schema (a literal).
SELECT
    r.table_name,
    r.key,
    r.reason,
    b.snapshot_at AS since,
    r.waits AS is_retried
FROM etl.rejected AS r
LEFT JOIN etl.batch AS b ON r.schema_name = b.schema_name AND r.first_batch = b.batch_id
WHERE r.schema_name = {schema} AND NOT r.resolved
