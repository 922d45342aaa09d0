-- Record a batch as loaded.
-- Binds: schema, batch, previous, at, manifest, reconcile, rows, checks, source_rows.
INSERT INTO etl.batch
(schema_name, batch_id, previous_batch_id, snapshot_at, manifest, reconcile, rows, checks, source_rows)
VALUES (
    %(schema)s,
    %(batch)s,
    %(previous)s,
    %(at)s,
    %(manifest)s,
    %(reconcile)s,
    %(rows)s,
    %(checks)s,
    %(source_rows)s
)
