-- The texts of the models that tables were computed with, and the names that another column of a table, or of
-- its versions, has taken from one of its last load.
-- Binds: schema.
SELECT
    m.table_name,
    m.model_sql,
    array(
        SELECT lower(a.attname)
        FROM pg_class AS c
        INNER JOIN pg_attribute AS a ON c.oid = a.attrelid AND NOT a.attisdropped
        WHERE
            a.attnum <> CASE
                WHEN c.oid = m.table_oid AND c.relname = m.table_name
                    THEN m.column_numbers -> 'table' ->> a.attname
                WHEN c.oid = m.version_oid AND c.relname = m.table_name || '_version'
                    THEN m.column_numbers -> 'versions' ->> a.attname
            END::smallint
            AND c.oid IN (m.table_oid, m.version_oid)
    ) AS replaced
FROM etl.model AS m
WHERE m.schema_name = %(schema)s
