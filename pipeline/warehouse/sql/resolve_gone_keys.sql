-- What was rejected and whose key left the model's result.
UPDATE etl.rejected AS r
SET resolved = true
WHERE
    r.schema_name = %(schema)s
    AND r.table_name = %(table_name)s
    AND NOT r.resolved
    AND r.last_batch <> %(batch)s
    AND EXISTS (SELECT FROM pg_temp.gone_keys AS s WHERE {key_json} = r.key)
