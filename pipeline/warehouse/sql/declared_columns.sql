-- The columns of tables as they are declared, with their constraints.
-- Binds: schema, tables, as_schema (the schema whose types those in the temporary schema stand for).
SELECT
    c.relname::text AS table_name,
    a.attname::text AS name,
    CASE
        WHEN COALESCE(e.typnamespace, y.typnamespace) = pg_my_temp_schema()
            THEN format('%%I.', %(as_schema)s::text)
        ELSE ''
    END || format_type(a.atttypid, a.atttypmod) AS type,
    a.attnotnull AS required,
    a.attidentity <> '' OR a.attgenerated <> '' AS computed,
    CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END AS default_value,
    COALESCE(
        (
            SELECT array_agg(pg_get_constraintdef(r.oid) ORDER BY r.conname)
            FROM pg_constraint AS r
            WHERE r.conrelid = c.oid AND r.conkey = ARRAY[a.attnum] AND r.contype = 'c'
        ), '{}'
    ) AS checks,
    COALESCE(
        (
            SELECT array_agg(format('%%I %%s', r.conname, pg_get_constraintdef(r.oid)) ORDER BY r.conname)
            FROM pg_constraint AS r
            WHERE
                r.conrelid = c.oid
                AND a.attnum = ANY(r.conkey)
                AND (r.contype IN ('u', 'x') OR (r.contype = 'c' AND cardinality(r.conkey) > 1))
        ), '{}'
    ) AS constraints,
    (
        SELECT min(tc.relname::text)
        FROM pg_constraint AS r
        INNER JOIN pg_class AS tc ON r.confrelid = tc.oid
        WHERE r.conrelid = c.oid AND r.conkey = ARRAY[a.attnum] AND r.contype = 'f'
    ) AS refers_to,
    COALESCE(col_description(c.oid, a.attnum), '') AS comment,
    (
        SELECT array_position(i.indkey::smallint[], a.attnum) + 1
        FROM pg_index AS i
        WHERE i.indrelid = c.oid AND i.indisprimary
    ) AS key_place
FROM pg_class AS c
INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
INNER JOIN pg_attribute AS a ON c.oid = a.attrelid AND a.attnum > 0 AND NOT a.attisdropped
INNER JOIN pg_type AS y ON a.atttypid = y.oid
LEFT JOIN pg_type AS e ON y.typelem = e.oid AND y.typlen = -1
LEFT JOIN pg_attrdef AS d ON a.attrelid = d.adrelid AND a.attnum = d.adnum
WHERE n.nspname = %(schema)s AND c.relname = ANY(%(tables)s) AND c.relkind IN ('r', 'p')
ORDER BY c.relname, a.attnum
