-- The comments of tables, views and functions, and of their columns: of every one, NULL where there is none.
-- Binds: schemas.
SELECT
    n.nspname::text AS schema_name,
    c.relname::text AS object_name,
    CASE c.relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END AS kind,
    NULL AS signature,
    a.attname::text AS column_name,
    d.description
FROM pg_class AS c
INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
INNER JOIN pg_attribute AS a ON c.oid = a.attrelid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_description AS d
    ON d.classoid = 'pg_class'::regclass AND c.oid = d.objoid AND a.attnum = d.objsubid
WHERE n.nspname = ANY(%(schemas)s) AND c.relkind IN ('r', 'p', 'v')
UNION ALL
SELECT
    n.nspname::text,
    c.relname::text,
    CASE c.relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END,
    NULL,
    NULL,
    obj_description(c.oid, 'pg_class')
FROM pg_class AS c
INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
WHERE n.nspname = ANY(%(schemas)s) AND c.relkind IN ('r', 'p', 'v')
UNION ALL
SELECT
    n.nspname::text,
    p.proname::text,
    'FUNCTION',
    p.oid::regprocedure::text,
    NULL,
    obj_description(p.oid, 'pg_proc')
FROM pg_proc AS p
INNER JOIN pg_namespace AS n ON p.pronamespace = n.oid
WHERE n.nspname = ANY(%(schemas)s) AND p.prokind = 'f'
