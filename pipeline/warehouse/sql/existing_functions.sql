-- The bodies of the parallel safe functions of a schema.
-- Binds: schema.
SELECT
    f.proname::text,
    f.prosrc
FROM pg_proc AS f
INNER JOIN pg_namespace AS n ON f.pronamespace = n.oid
WHERE n.nspname = %(schema)s AND f.proparallel = 's'
