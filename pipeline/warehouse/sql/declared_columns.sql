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
            SELECT
                array_agg(
                    CASE
                        -- Another one has the name, such as one that Postgres has given it.
                        WHEN EXISTS (
                                SELECT FROM pg_class AS t
                                LEFT JOIN pg_constraint AS o ON t.oid = o.conrelid AND r.conname = o.conname
                                WHERE
                                    t.relnamespace = to_regnamespace(quote_ident(%(as_schema)s))
                                    AND (
                                        t.relname = r.conname OR (t.relname = c.relname AND o.oid IS NOT NULL)
                                    )
                            ) THEN ''
                        ELSE format('CONSTRAINT %%I ', r.conname)
                    END || CASE r.contype
                        WHEN 'f'
                            THEN replace(
                                    pg_get_constraintdef(r.oid),
                                    format(') REFERENCES %%s(', r.confrelid::regclass),
                                    format(
                                        ') REFERENCES %%I.%%I(',
                                        CASE
                                            WHEN
                                                tc.relnamespace = pg_my_temp_schema()
                                                THEN %(as_schema)s::text
                                            ELSE tn.nspname::text
                                        END, tc.relname
                                    )
                                )
                        ELSE pg_get_constraintdef(r.oid)
                    END
                    ORDER BY r.conname
                )
            FROM pg_constraint AS r
            LEFT JOIN pg_class AS tc ON r.confrelid = tc.oid
            LEFT JOIN pg_namespace AS tn ON tc.relnamespace = tn.oid
            WHERE
                r.conrelid = c.oid
                AND (r.contype IN ('u', 'x', 'f') OR (r.contype = 'c' AND cardinality(r.conkey) > 1))
                -- Also what it includes, or names in an expression or its WHERE.
                AND EXISTS (
                    SELECT FROM pg_depend AS p
                    WHERE
                        (p.classid, p.objid) IN (
                            ('pg_constraint'::regclass, r.oid), ('pg_class'::regclass, r.conindid)
                        )
                        AND p.refclassid = 'pg_class'::regclass
                        AND p.refobjid = c.oid
                        AND p.refobjsubid = a.attnum
                )
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
