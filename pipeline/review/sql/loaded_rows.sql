-- The rows and versions of each table after the last load, and the meaning of its columns.
-- Binds: schema.
SELECT
    m.table_name,
    m.row_count,
    m.version_count,
    (
        SELECT jsonb_object_agg(a.attname, col_description(a.attrelid, a.attnum))
        FROM pg_attribute AS a
        INNER JOIN pg_class AS c ON a.attrelid = c.oid
        WHERE
            c.relnamespace = to_regnamespace(%(schema)s)
            AND c.relname = m.table_name
            AND a.attnum > 0
            AND NOT a.attisdropped
    ) AS meanings
FROM etl.model AS m
WHERE m.schema_name = %(schema)s
