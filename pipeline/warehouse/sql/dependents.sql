-- What others have made on columns of a table and of its versions, and on the pipeline's views of it, whose
-- columns all count: views over views, functions, foreign keys, indexes. What others have made on marts
-- counts, too; the marts themselves are the pipeline's.
-- Binds: schema, as_of (the schema of the views as of a moment), reporting (the schema for readers), table,
-- columns (NULL for all, and for the table itself), going (foreign keys that do not count).
WITH RECURSIVE own AS (
    SELECT
        c.oid,
        c.reltype,
        c.relkind
    FROM pg_class AS c
    INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
    WHERE
        (
            n.nspname = %(schema)s
            AND c.relkind IN ('r', 'p', 'v')
            AND c.relname IN (
                %(table)s::text,
                %(table)s::text || '_version',
                %(table)s::text || '_current',
                %(table)s::text || '_history'
            )
        )
        OR (
            n.nspname IN (%(as_of)s, %(reporting)s)
            AND c.relname = %(table)s::text
            AND c.relkind = 'v'
        )
),

marts AS (
    SELECT c.oid
    FROM etl.mart AS m
    INNER JOIN pg_class AS c ON m.mart_name = c.relname
    INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
    WHERE m.schema_name = %(schema)s AND n.nspname = %(reporting)s
    UNION ALL
    SELECT p.oid
    FROM etl.mart AS m
    INNER JOIN pg_proc AS p ON m.mart_name = p.proname
    INNER JOIN pg_namespace AS n ON p.pronamespace = n.oid
    WHERE m.schema_name = %(schema)s AND n.nspname = %(reporting)s
),

direct AS (
    SELECT
        d.classid,
        d.objid,
        d.deptype = 'n' AS blocks
    FROM own
    INNER JOIN pg_depend AS d ON d.refclassid = 'pg_class'::regclass AND own.oid = d.refobjid
    LEFT JOIN pg_attribute AS a ON own.oid = a.attrelid AND d.refobjsubid = a.attnum
    WHERE
        d.deptype IN ('n', 'a')
        AND (%(columns)s::text[] IS NULL OR own.relkind = 'v' OR a.attname = ANY(%(columns)s::text[]))
    UNION
    SELECT
        d.classid,
        d.objid,
        true
    FROM own
    INNER JOIN pg_depend AS d ON d.refclassid = 'pg_type'::regclass AND own.reltype = d.refobjid
    WHERE d.deptype = 'n' AND (%(columns)s::text[] IS NULL OR own.relkind = 'v')
),

found AS (
    SELECT
        CASE WHEN r.oid IS NULL THEN d.classid ELSE 'pg_class'::regclass::oid END AS classid,
        COALESCE(r.ev_class, d.objid) AS objid,
        d.blocks
    FROM direct AS d
    LEFT JOIN pg_rewrite AS r
        ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND r.rulename = '_RETURN'
    UNION
    SELECT
        'pg_class'::regclass::oid,
        r.ev_class,
        true
    FROM found AS f
    INNER JOIN pg_depend AS d ON f.classid = d.refclassid AND f.objid = d.refobjid AND d.deptype = 'n'
    INNER JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
    WHERE f.classid = 'pg_class'::regclass AND f.objid NOT IN (SELECT own.oid FROM own)
)

SELECT
    pg_describe_object(f.classid, f.objid, 0) AS name,
    bool_or(f.blocks) AS blocks,
    f.classid = 'pg_constraint'::regclass AS is_constraint
FROM found AS f
LEFT JOIN pg_class AS c ON f.classid = 'pg_class'::regclass AND f.objid = c.oid
LEFT JOIN pg_index AS i ON c.oid = i.indexrelid
LEFT JOIN pg_constraint AS r ON f.classid = 'pg_constraint'::regclass AND f.objid = r.oid
LEFT JOIN pg_proc AS p ON f.classid = 'pg_proc'::regclass AND f.objid = p.oid
WHERE
    f.classid NOT IN ('pg_attrdef'::regclass, 'pg_type'::regclass)
    AND COALESCE(c.relkind NOT IN ('S', 't'), true)
    AND COALESCE(c.oid NOT IN (SELECT own.oid FROM own), true)
    AND f.objid NOT IN (SELECT marts.oid FROM marts)
    AND COALESCE(r.conrelid NOT IN (SELECT own.oid FROM own), true)
    AND NOT COALESCE(i.indisprimary OR c.relname = %(table)s::text || '_version', false)
    -- The unique index of a dimension's versions has a name that Postgres gives it.
    AND NOT COALESCE(i.indisunique AND i.indrelid::regclass::text LIKE '%%_version', false)
    AND COALESCE(p.proname <> %(table)s::text || '_as_of', true)
    AND COALESCE(r.oid <> ALL(%(going)s::oid[]), true)
GROUP BY f.classid, f.objid
ORDER BY name
