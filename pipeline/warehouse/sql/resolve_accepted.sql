-- What was rejected and has now come in, in this version or a newer one.
UPDATE etl.rejected AS r
SET resolved = true
WHERE
    r.schema_name = %(schema)s
    AND r.table_name = %(table_name)s
    AND NOT r.resolved
    AND EXISTS (SELECT FROM {stage} AS s WHERE {key_json} = r.key)
