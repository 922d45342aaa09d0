-- The statements that rename a table and what the pipeline keeps beside it.
-- Binds: schema, view_schemas (those of the views as of a moment), old, new.
WITH suffixes AS (
    SELECT unnest(ARRAY['', '_version', '_begun', '_ended', '_current', '_history']) AS suffix
)

SELECT
    format(
        'ALTER %%s %%I.%%I RENAME TO %%I',
        CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'i' THEN 'INDEX' WHEN 'I' THEN 'INDEX' ELSE 'TABLE' END,
        n.nspname,
        c.relname,
        %(new)s::text || s.suffix
    )
FROM pg_class AS c
INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
INNER JOIN suffixes AS s ON c.relname = %(old)s::text || s.suffix
WHERE
    (n.nspname = %(schema)s AND c.relkind IN ('r', 'p', 'v', 'i', 'I'))
    OR (n.nspname = ANY(%(view_schemas)s) AND c.relkind = 'v' AND s.suffix = '')
UNION ALL
SELECT format('ALTER FUNCTION %%s RENAME TO %%I', p.oid::regprocedure, %(new)s::text || '_as_of')
FROM pg_proc AS p
INNER JOIN pg_namespace AS n ON p.pronamespace = n.oid
WHERE
    n.nspname = %(schema)s
    AND p.proname = %(old)s::text || '_as_of'
    AND p.pronargs = 1
    AND p.proargtypes[0] = 'timestamptz'::regtype
