-- The statements that repeat the grants on tables.
-- Binds: schema, tables.
SELECT
    format(
        'GRANT %%s ON %%s TO %%s%%s',
        g.privilege_type,
        c.oid::regclass,
        CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END,
        CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
    )
FROM pg_class AS c
INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
CROSS JOIN LATERAL aclexplode(c.relacl) AS g
WHERE n.nspname = %(schema)s AND c.relname = ANY(%(tables)s) AND g.grantee <> c.relowner
