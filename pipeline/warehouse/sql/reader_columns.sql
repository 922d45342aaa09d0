-- The columns of the views for readers, with their types and comments.
-- Binds: reporting (the schema for readers).
SELECT
    c.relname::text AS view_name,
    obj_description(c.oid, 'pg_class') AS about,
    a.attname::text AS name,
    format_type(a.atttypid, a.atttypmod) AS type,
    col_description(c.oid, a.attnum) AS meaning
FROM pg_class AS c
INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
INNER JOIN pg_attribute AS a ON c.oid = a.attrelid AND a.attnum > 0 AND NOT a.attisdropped
WHERE n.nspname = %(reporting)s AND c.relkind = 'v'
ORDER BY c.relname, a.attnum
