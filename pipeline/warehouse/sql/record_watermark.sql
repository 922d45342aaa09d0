-- Move a schema's watermark to a batch.
-- Binds: schema, batch, manifest, at, source_xmin, up_to_date_at.
INSERT INTO etl.watermark (schema_name, batch_id, manifest, snapshot_at, source_xmin, up_to_date_at)
VALUES (%(schema)s, %(batch)s, %(manifest)s, %(at)s, %(source_xmin)s, %(up_to_date_at)s)
ON CONFLICT (schema_name)
DO UPDATE SET
    batch_id = excluded.batch_id,
    manifest = excluded.manifest,
    snapshot_at = excluded.snapshot_at,
    source_xmin = excluded.source_xmin,
    up_to_date_at = excluded.up_to_date_at,
    wal_marks = NULL
