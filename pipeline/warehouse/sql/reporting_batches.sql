-- One row per batch that was loaded: a moment at which changes of the source were read.
-- columns:
-- moment: The moment of the source that the batch shows.
-- loaded_at: When the batch was loaded into the warehouse.
-- is_reconcile: Whether the batch compared all rows with the source.
-- rows_added: How many rows it added to all tables.
-- rows_changed: How many rows it changed; a fact keeps the former version.
-- rows_deleted: How many rows it marked as deleted.
-- rows_rejected: How many rows it rejected.
-- rows_by_table: The same counts by table.
-- seconds: How long the run's steps took together, in seconds; NULL if that is not known.
-- seconds_by_step: The same by step.
-- warnings: How many checks warned.
-- Names: schema (a literal).
SELECT
    b.snapshot_at AS moment,
    b.loaded_at,
    b.reconcile AS is_reconcile,
    COALESCE(c.added, 0) AS rows_added,
    COALESCE(c.changed, 0) AS rows_changed,
    COALESCE(c.deleted, 0) AS rows_deleted,
    COALESCE(c.rejected, 0) AS rows_rejected,
    b.rows AS rows_by_table,
    s.seconds,
    b.seconds AS seconds_by_step,
    jsonb_array_length(b.checks) AS warnings
FROM etl.batch AS b
CROSS JOIN
    LATERAL (
        SELECT
            sum((t.counts ->> 'added')::bigint)::bigint AS added,
            sum((t.counts ->> 'changed')::bigint)::bigint AS changed,
            sum((t.counts ->> 'deleted')::bigint)::bigint AS deleted,
            sum((t.counts ->> 'rejected')::bigint)::bigint AS rejected
        FROM jsonb_each(b.rows) AS t (name, counts)
    ) AS c
CROSS JOIN
    LATERAL (
        SELECT sum(t.value::numeric) AS seconds
        FROM jsonb_each_text(b.seconds) AS t (step, value)
    ) AS s
WHERE b.schema_name = {schema}
