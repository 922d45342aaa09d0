-- Each view of these schemas with the tables of the warehouse's schema that it reads.
-- Binds: homes (the warehouse's schema and those of views as of a moment), schema.
SELECT DISTINCT
    n.nspname::text,
    c.relname::text,
    t.relname::text
FROM pg_depend AS d
INNER JOIN pg_rewrite AS r ON d.objid = r.oid
INNER JOIN pg_class AS c ON r.ev_class = c.oid
INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
INNER JOIN pg_class AS t ON d.refobjid = t.oid
INNER JOIN pg_namespace AS s ON t.relnamespace = s.oid
WHERE
    d.classid = 'pg_rewrite'::regclass
    AND d.refclassid = 'pg_class'::regclass
    AND n.nspname = ANY(%(homes)s)
    AND s.nspname = %(schema)s
