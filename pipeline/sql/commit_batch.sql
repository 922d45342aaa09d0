INSERT INTO etl.batch (batch_id, previous_batch_id, snapshot_at, manifest, reconcile, rows)
VALUES (%(batch)s, %(previous)s, %(at)s, %(manifest)s, %(reconcile)s, %(rows)s)
