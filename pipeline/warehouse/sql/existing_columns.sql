-- The columns, in their order, of the tables, views and indexes of these schemas.
-- Binds: homes.
SELECT
    n.nspname::text,
    c.relkind::text,
    c.relname::text,
    array_agg(a.attname::text ORDER BY a.attnum)
FROM pg_class AS c
INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
INNER JOIN pg_attribute AS a ON c.oid = a.attrelid AND a.attnum > 0 AND NOT a.attisdropped
WHERE n.nspname = ANY(%(homes)s) AND c.relkind IN ('r', 'p', 'v', 'i', 'I')
GROUP BY 1, 2, 3
