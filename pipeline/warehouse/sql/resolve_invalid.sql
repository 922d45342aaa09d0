-- Resolve rejected rows whose deleted key the table's types cannot hold.
-- Names: untyped (the deleted keys as bytes), plain (a key as etl.rejected stores it if the model rejected
-- its row), printed (the same if Postgres did).
-- Binds: schema, table_name, batch.
WITH invalid AS MATERIALIZED (
    SELECT
        {plain} AS plain_key,
        {printed} AS printed_key
    FROM {untyped} AS s
    INNER JOIN pg_temp.postgres_rejections AS p ON s.ctid = p.place
)

UPDATE etl.rejected AS r
SET resolved = true
FROM invalid
WHERE
    r.schema_name = %(schema)s
    AND r.table_name = %(table_name)s
    AND NOT r.resolved
    AND r.last_batch <> %(batch)s
    AND r.key IN (invalid.plain_key, invalid.printed_key)
