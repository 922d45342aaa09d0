-- Foreign keys that tables have in one schema and lack in another: table, columns, and what they refer to.
-- Binds: declared, schema, tables.
WITH found AS (
    SELECT
        n.nspname,
        format(
            '%%s (%%s) to %%s',
            c.relname,
            (
                SELECT string_agg(a.attname, ', ' ORDER BY k.place)
                FROM unnest(r.conkey) WITH ORDINALITY AS k (number, place)
                INNER JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.number
            ),
            f.relname
        ) AS reference
    FROM pg_constraint AS r
    INNER JOIN pg_class AS c ON r.conrelid = c.oid
    INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
    INNER JOIN pg_class AS f ON r.confrelid = f.oid
    WHERE r.contype = 'f' AND c.relname = ANY(%(tables)s) AND n.nspname IN (%(declared)s, %(schema)s)
)

SELECT reference
FROM found
WHERE nspname = %(declared)s
EXCEPT
SELECT reference
FROM found
WHERE nspname = %(schema)s
ORDER BY reference
