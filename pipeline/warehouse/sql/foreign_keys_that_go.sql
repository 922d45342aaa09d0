-- The foreign keys that go with their own table, or with one of their own columns.
-- Binds: schema, tables (of what goes), columns (likewise, NULL where the table goes).
SELECT DISTINCT
    k.oid,
    c.relname AS "table",
    k.conname AS name
FROM unnest(%(tables)s::text[], %(columns)s::text[]) AS gone (table_name, column_name)
INNER JOIN pg_class AS c ON gone.table_name = c.relname
INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
INNER JOIN pg_constraint AS k ON c.oid = k.conrelid
LEFT JOIN pg_attribute AS a ON c.oid = a.attrelid AND gone.column_name = a.attname
WHERE
    n.nspname = %(schema)s
    AND k.contype = 'f'
    AND (gone.column_name IS NULL OR a.attnum = ANY(k.conkey))
ORDER BY k.oid
