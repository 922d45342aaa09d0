-- Record which model a table was computed with.
-- Binds: schema, table_name, fingerprint, batch, result, model_sql.
INSERT INTO etl.model (schema_name, table_name, fingerprint, batch_id, result, model_sql)
VALUES (%(schema)s, %(table_name)s, %(fingerprint)s, %(batch)s, %(result)s, %(model_sql)s)
ON CONFLICT (schema_name, table_name)
DO UPDATE SET
    fingerprint = excluded.fingerprint,
    batch_id = excluded.batch_id,
    result = excluded.result,
    model_sql = excluded.model_sql
