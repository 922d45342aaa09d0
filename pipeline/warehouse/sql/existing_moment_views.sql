-- The views that check their moment by etl.known. That of a renamed table names the former one.
-- Binds: homes (the warehouse's schema and those of views as of a moment).
SELECT DISTINCT
    n.nspname::text,
    c.relname::text
FROM pg_depend AS d
INNER JOIN pg_rewrite AS r ON d.objid = r.oid
INNER JOIN pg_class AS c ON r.ev_class = c.oid
INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
WHERE
    d.classid = 'pg_rewrite'::regclass
    AND d.refobjid = to_regprocedure('etl.known(timestamptz, text, text)')
    AND n.nspname = ANY(%(homes)s)
    AND position(quote_literal(c.relname) IN pg_get_viewdef(c.oid)) > 0
