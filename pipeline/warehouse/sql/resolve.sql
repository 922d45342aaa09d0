-- Resolve rejected rows whose key is accepted now, in this version or a newer one, or has left the result.
-- Names: keys (a relation that has these), key_json, now (whether rows of this batch count).
-- Binds: schema, table_name, batch.
UPDATE etl.rejected AS r
SET resolved = true
WHERE
    r.schema_name = %(schema)s
    AND r.table_name = %(table_name)s
    AND NOT r.resolved
    AND ({now} OR r.last_batch <> %(batch)s)
    AND EXISTS (SELECT FROM {keys} AS s WHERE {key_json} = r.key)
