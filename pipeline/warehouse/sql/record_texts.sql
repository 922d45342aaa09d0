-- Record the texts of models that tables were computed with: of layouts that have changed, and of tables that
-- an earlier release computed.
-- Binds: schema, names, fingerprints, texts.
UPDATE etl.model AS m
SET model_sql = n.text
FROM unnest(%(names)s::text[], %(fingerprints)s::text[], %(texts)s::text[]) AS n (name, fingerprint, text)
WHERE
    m.schema_name = %(schema)s
    AND m.table_name = n.name
    AND m.fingerprint = n.fingerprint
    AND m.model_sql IS DISTINCT FROM n.text
