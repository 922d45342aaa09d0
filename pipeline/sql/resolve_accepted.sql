-- What was set aside and has now come in.
UPDATE etl.rejected AS r
SET resolved = true
WHERE
    r.table_name = %(table_name)s
    AND NOT r.resolved
    AND r.last_batch <> %(batch)s
    AND EXISTS (SELECT FROM {stage} AS s WHERE {key_json} = r.key)
