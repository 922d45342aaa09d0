INSERT INTO etl.model (table_name, fingerprint, batch_id, result)
VALUES (%(table_name)s, %(fingerprint)s, %(batch)s, %(result)s)
ON CONFLICT (table_name)
DO UPDATE SET fingerprint = excluded.fingerprint, batch_id = excluded.batch_id, result = excluded.result
