-- Foreign keys that tables have in one schema and lack in another, or do not enforce there: table, columns,
-- and what they refer to. The order of the columns does not count.
-- Binds: declared, schema, tables.
WITH found AS (
    SELECT
        n.nspname,
        format(
            '%%s (%%s) to %%s',
            c.relname,
            (
                SELECT string_agg(a.attname, ', ' ORDER BY a.attname)
                FROM unnest(r.conkey) AS k (number)
                INNER JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.number
            ),
            f.relname
        ) AS reference
    FROM pg_constraint AS r
    INNER JOIN pg_class AS c ON r.conrelid = c.oid
    INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
    INNER JOIN pg_class AS f ON r.confrelid = f.oid
    WHERE r.contype = 'f' AND c.relname = ANY(%(tables)s) AND n.nspname IN (%(declared)s, %(schema)s)
        -- Postgres has the column since 18.
        AND COALESCE((to_jsonb(r) ->> 'conenforced')::boolean, true)
)

SELECT reference
FROM found
WHERE nspname = %(declared)s
EXCEPT
SELECT reference
FROM found
WHERE nspname = %(schema)s
ORDER BY reference
