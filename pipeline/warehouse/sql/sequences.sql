-- The sequences that number a table's rows, and how many numbers a session caches.
-- Binds: qualified_name.
SELECT
    n.nspname::text,
    c.relname::text,
    s.seqcache
FROM pg_depend AS d
INNER JOIN pg_sequence AS s ON d.objid = s.seqrelid
INNER JOIN pg_class AS c ON s.seqrelid = c.oid
INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
WHERE
    d.refobjid = %(qualified_name)s::regclass
    AND d.refclassid = 'pg_class'::regclass
    AND d.classid = 'pg_class'::regclass
    AND d.refobjsubid > 0
