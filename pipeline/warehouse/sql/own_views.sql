-- The views and functions that the pipeline has made beside tables, with the marts that read them, in an
-- order in which they can be dropped, and the statements that repeat the grants on them.
-- Binds: schema, as_of (the schema of the views as of a moment), reporting (the schema for readers), tables,
-- views (further ones by qualified name), marts.
WITH RECURSIVE objects AS (
    SELECT
        'pg_proc'::regclass::oid AS classid,
        p.oid AS objid,
        n.nspname AS schema_name,
        p.proname AS object_name,
        'FUNCTION' AS kind,
        p.oid::regprocedure::text AS name,
        p.proacl AS acl,
        p.proowner AS owner,
        p.pronargs = 1 AND p.proargtypes[0] = 'timestamptz'::regtype AS is_of_moment
    FROM pg_proc AS p
    INNER JOIN pg_namespace AS n ON p.pronamespace = n.oid
    WHERE n.nspname IN (%(schema)s, %(reporting)s)
    UNION ALL
    SELECT
        'pg_class'::regclass::oid,
        c.oid,
        n.nspname,
        c.relname,
        'VIEW',
        c.oid::regclass::text,
        c.relacl,
        c.relowner,
        false
    FROM pg_class AS c
    INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
    WHERE n.nspname IN (%(schema)s, %(as_of)s, %(reporting)s) AND c.relkind = 'v'
),

marts AS (
    SELECT
        o.classid,
        o.objid
    FROM objects AS o
    INNER JOIN etl.mart AS m ON o.object_name = m.mart_name
    WHERE m.schema_name = %(schema)s AND o.schema_name = %(reporting)s
),

own AS (
    SELECT
        o.classid,
        o.objid,
        CASE o.kind WHEN 'FUNCTION' THEN 1 ELSE 2 END AS place
    FROM objects AS o
    INNER JOIN unnest(%(tables)s::text[]) AS t (name)
        ON
            (o.schema_name = %(schema)s AND o.object_name = t.name || '_as_of' AND o.is_of_moment)
            OR (
                o.schema_name = %(schema)s
                AND o.object_name IN (t.name || '_current', t.name || '_history')
                AND o.kind = 'VIEW'
            )
            OR (
                o.schema_name IN (%(as_of)s, %(reporting)s)
                AND o.object_name = t.name
                AND o.kind = 'VIEW'
            )
    UNION
    SELECT
        o.classid,
        o.objid,
        2
    FROM objects AS o
    WHERE o.name = ANY(%(views)s::text[])
),

-- A view depends on what it reads by its rule.
readers AS (
    SELECT
        CASE WHEN r.oid IS NULL THEN d.classid ELSE 'pg_class'::regclass::oid END AS classid,
        COALESCE(r.ev_class, d.objid) AS objid,
        d.refclassid,
        d.refobjid
    FROM pg_depend AS d
    LEFT JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
    WHERE d.deptype = 'n'
),

found AS (
    (
        SELECT
            own.classid,
            own.objid,
            0 AS depth
        FROM own
        UNION ALL
        SELECT
            o.classid,
            o.objid,
            0
        FROM objects AS o
        WHERE o.schema_name = %(reporting)s AND o.object_name = ANY(%(marts)s::text[])
    )
    UNION
    SELECT
        m.classid,
        m.objid,
        f.depth + 1
    FROM found AS f
    INNER JOIN readers AS r ON f.classid = r.refclassid AND f.objid = r.refobjid
    INNER JOIN marts AS m ON r.classid = m.classid AND r.objid = m.objid
    -- A view is no reader of itself.
    WHERE (m.classid, m.objid) <> (f.classid, f.objid)
),

dropped AS (
    SELECT
        own.classid,
        own.objid,
        own.place,
        0 AS depth
    FROM own
    UNION ALL
    SELECT
        f.classid,
        f.objid,
        0,
        max(f.depth)
    FROM found AS f
    INNER JOIN marts AS m ON f.classid = m.classid AND f.objid = m.objid
    GROUP BY f.classid, f.objid
)

SELECT
    o.kind,
    o.name,
    (
        SELECT
            COALESCE(
                array_agg(
                    format(
                        'GRANT %%s ON %%s%%s TO %%s%%s',
                        g.privilege_type,
                        CASE o.kind WHEN 'FUNCTION' THEN 'FUNCTION ' ELSE '' END,
                        o.name,
                        CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END,
                        CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
                    )
                ), '{}'
            )
        FROM aclexplode(o.acl) AS g
        WHERE g.grantee <> o.owner
    ) AS grants
FROM dropped AS d
INNER JOIN objects AS o ON d.classid = o.classid AND d.objid = o.objid
ORDER BY d.place, d.depth DESC, o.name
