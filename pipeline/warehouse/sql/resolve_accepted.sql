-- Resolve rejected rows whose key is accepted now, in this version or a newer one.
-- Names: stage, key_json.
-- Binds: schema, table_name.
UPDATE etl.rejected AS r
SET resolved = true
WHERE
    r.schema_name = %(schema)s
    AND r.table_name = %(table_name)s
    AND NOT r.resolved
    AND EXISTS (SELECT FROM {stage} AS s WHERE {key_json} = r.key)
