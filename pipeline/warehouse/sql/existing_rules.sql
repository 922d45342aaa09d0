-- The rules on tables of a schema.
-- Binds: schema.
SELECT
    c.relname::text,
    w.rulename::text
FROM pg_rewrite AS w
INNER JOIN pg_class AS c ON w.ev_class = c.oid
INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
WHERE n.nspname = %(schema)s AND c.relkind IN ('r', 'p') AND w.ev_enabled <> 'D'
ORDER BY 1, 2
