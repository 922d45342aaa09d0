INSERT INTO etl.model (table_name, fingerprint, batch_id)
VALUES (%(table_name)s, %(fingerprint)s, %(batch)s)
ON CONFLICT (table_name)
DO UPDATE SET fingerprint = excluded.fingerprint, batch_id = excluded.batch_id
