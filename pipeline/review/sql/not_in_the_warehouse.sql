-- Statements that drop those temporary objects which the warehouse lacks when a run executes schema.sql.
-- Binds: schema, temporary, gone (tables that are dropped before), renamed (new names of tables).
WITH present AS (
    SELECT relname AS name
    FROM pg_class
    WHERE relnamespace = to_regnamespace(quote_ident(%(schema)s)) AND relname <> ALL(%(gone)s::text[])
    UNION
    SELECT unnest(%(renamed)s::text[])
),

made AS (
    SELECT oid
    FROM pg_namespace
    WHERE nspname = %(temporary)s
)

SELECT
    format(
        'DROP %%s IF EXISTS %%I.%%I CASCADE',
        CASE c.relkind
            WHEN 'v' THEN 'VIEW'
            WHEN 'S' THEN 'SEQUENCE'
            WHEN 'i' THEN 'INDEX'
            WHEN 'c' THEN 'TYPE'
            ELSE 'TABLE'
        END,
        %(temporary)s::text, c.relname
    )
FROM pg_class AS c
INNER JOIN made ON c.relnamespace = made.oid
WHERE
    c.relkind = ANY('{r,p,v,S,i,c}')
    AND c.relname NOT IN (SELECT p.name FROM present AS p)
    AND NOT EXISTS (SELECT FROM pg_constraint AS k WHERE k.conindid = c.oid)
UNION ALL
SELECT format('DROP TYPE IF EXISTS %%I.%%I CASCADE', %(temporary)s::text, t.typname)
FROM pg_type AS t
INNER JOIN made ON t.typnamespace = made.oid
WHERE t.typtype = ANY('{e,d,r}') AND to_regtype(format('%%I.%%I', %(schema)s::text, t.typname)) IS NULL
UNION ALL
SELECT format('DROP ROUTINE IF EXISTS %%s CASCADE', f.oid::regprocedure)
FROM pg_proc AS f
INNER JOIN made ON f.pronamespace = made.oid
WHERE NOT EXISTS (
        SELECT FROM pg_proc AS o
        WHERE
            o.pronamespace = to_regnamespace(quote_ident(%(schema)s))
            AND o.proname = f.proname
            AND o.pronargs = f.pronargs
    )
UNION ALL
SELECT
    format(
        'ALTER TABLE IF EXISTS %%I.%%I DROP CONSTRAINT IF EXISTS %%I CASCADE',
        %(temporary)s::text, c.relname, k.conname
    )
FROM pg_constraint AS k
INNER JOIN pg_class AS c ON k.conrelid = c.oid
INNER JOIN made ON c.relnamespace = made.oid
WHERE
    k.contype = ANY('{c,f}')
    AND NOT EXISTS (
        SELECT FROM pg_constraint AS o
        INNER JOIN pg_class AS t ON o.conrelid = t.oid
        WHERE
            t.relnamespace = to_regnamespace(quote_ident(%(schema)s))
            AND t.relname = c.relname
            AND o.conname = k.conname
    )
