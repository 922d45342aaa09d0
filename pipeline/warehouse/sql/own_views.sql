-- The views and functions that the pipeline creates beside tables, in an order in which they can be dropped,
-- and the statements that repeat the grants on them.
-- Binds: tables, schema, as_of (the schema of the views as of a moment).
WITH objects AS (
    SELECT
        1 AS place,
        'FUNCTION' AS kind,
        p.oid::regprocedure::text AS name,
        p.proacl AS acl,
        p.proowner AS owner
    FROM pg_proc AS p
    INNER JOIN pg_namespace AS n ON p.pronamespace = n.oid
    INNER JOIN unnest(%(tables)s::text[]) AS t (name) ON p.proname = t.name || '_as_of'
    WHERE n.nspname = %(schema)s AND p.pronargs = 1 AND p.proargtypes[0] = 'timestamptz'::regtype
    UNION ALL
    SELECT
        2,
        'VIEW',
        c.oid::regclass::text,
        c.relacl,
        c.relowner
    FROM pg_class AS c
    INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
    INNER JOIN unnest(%(tables)s::text[]) AS t (name)
        ON
            (n.nspname = %(as_of)s AND c.relname = t.name)
            OR (n.nspname = %(schema)s AND c.relname IN (t.name || '_current', t.name || '_history'))
    WHERE c.relkind = 'v'
)

SELECT
    kind,
    name,
    (
        SELECT
            COALESCE(
                array_agg(
                    format(
                        'GRANT %%s ON %%s%%s TO %%s%%s',
                        g.privilege_type,
                        CASE kind WHEN 'FUNCTION' THEN 'FUNCTION ' ELSE '' END,
                        name,
                        CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END,
                        CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
                    )
                ), '{}'
            )
        FROM aclexplode(acl) AS g
        WHERE g.grantee <> owner
    ) AS grants
FROM objects
ORDER BY place, name
