INSERT INTO etl.watermark (batch_id, manifest, snapshot_at, source_xmin, up_to_date_at)
VALUES (%(batch)s, %(manifest)s, %(at)s, %(source_xmin)s, %(at)s)
ON CONFLICT (singleton)
DO UPDATE SET
    batch_id = excluded.batch_id,
    manifest = excluded.manifest,
    snapshot_at = excluded.snapshot_at,
    source_xmin = excluded.source_xmin,
    up_to_date_at = excluded.up_to_date_at
