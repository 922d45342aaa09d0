-- Resolve rejected rows whose key left the model's result.
-- Names: key_json.
-- Binds: schema, table_name, batch.
UPDATE etl.rejected AS r
SET resolved = true
WHERE
    r.schema_name = %(schema)s
    AND r.table_name = %(table_name)s
    AND NOT r.resolved
    AND r.last_batch <> %(batch)s
    AND EXISTS (SELECT FROM pg_temp.deleted_keys AS s WHERE {key_json} = r.key)
