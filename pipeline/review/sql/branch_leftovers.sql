-- Tables of a branch other than the kept ones, and functions of a moment, which need batches of their own.
-- Binds: schema, kept.
SELECT
    'TABLE' AS kind,
    c.oid::regclass::text AS name
FROM pg_class AS c
INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
WHERE n.nspname = %(schema)s AND c.relkind IN ('r', 'p') AND c.relname <> ALL(%(kept)s)
UNION ALL
SELECT
    'FUNCTION',
    p.oid::regprocedure::text
FROM pg_proc AS p
INNER JOIN pg_namespace AS n ON p.pronamespace = n.oid
WHERE n.nspname = %(schema)s AND p.proname LIKE '%%\_as\_of'
