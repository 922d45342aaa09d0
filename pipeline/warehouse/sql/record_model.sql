-- Record which model a table was computed with. If that is another one than at the previous batch, the table
-- is still to be restated; not so if its fingerprint does not tell. If it had no model at the previous batch,
-- nobody knows what others have done to it, and its counts are forgotten.
-- Binds: schema, table_name, fingerprint, batch, result, model_sql, previous (NULL if all batches are
-- computed), comparable (how fingerprints begin that tell).
INSERT INTO etl.model AS m (schema_name, table_name, fingerprint, batch_id, result, model_sql, to_restate)
VALUES (
    %(schema)s, %(table_name)s, %(fingerprint)s, %(batch)s, %(result)s, %(model_sql)s,
    %(previous)s::text IS NOT NULL
)
ON CONFLICT (schema_name, table_name)
DO UPDATE SET
    fingerprint = excluded.fingerprint,
    batch_id = excluded.batch_id,
    result = excluded.result,
    model_sql = excluded.model_sql,
    row_count = CASE WHEN m.batch_id = COALESCE(%(previous)s, m.batch_id) THEN m.row_count END,
    version_count = CASE WHEN m.batch_id = COALESCE(%(previous)s, m.batch_id) THEN m.version_count END,
    to_restate = excluded.to_restate AND (
        m.to_restate
        OR m.batch_id <> %(previous)s
        OR (m.fingerprint <> excluded.fingerprint AND starts_with(m.fingerprint, %(comparable)s))
    )
