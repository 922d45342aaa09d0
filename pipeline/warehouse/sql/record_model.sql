-- Record which model a table was computed with.
-- Binds: schema, table_name, fingerprint, batch, result.
INSERT INTO etl.model (schema_name, table_name, fingerprint, batch_id, result)
VALUES (%(schema)s, %(table_name)s, %(fingerprint)s, %(batch)s, %(result)s)
ON CONFLICT (schema_name, table_name)
DO UPDATE SET fingerprint = excluded.fingerprint, batch_id = excluded.batch_id, result = excluded.result
