-- The warehouse's tables, as the contracts of models.
-- Binds: schema, tables.
SELECT
    c.relname AS name,
    (
        SELECT
            jsonb_agg(
                jsonb_build_object(
                    'name', a.attname,
                    -- A column of a domain has the domain's precision.
                    'type', format_type(plain.oid, plain.typmod),
                    'category', t.typcategory,
                    'labels', (
                        SELECT COALESCE(jsonb_agg(l.enumlabel ORDER BY l.enumsortorder), '[]')
                        FROM pg_enum AS l
                        WHERE l.enumtypid = plain.oid
                    ),
                    'required', a.attnotnull,
                    'filled', a.attidentity <> '' OR value.tree IS NOT NULL,
                    'numbered', a.attidentity <> '' OR COALESCE(value.text ~ '(nextval|uuid)', false),
                    'varies', a.attidentity <> ''
                    -- Such as CURRENT_TIMESTAMP, or a function or operator that is not immutable.
                    OR COALESCE(position('SQLVALUEFUNCTION' IN value.tree) > 0, false)
                    OR EXISTS (
                        SELECT
                        FROM regexp_matches(value.tree, ':(?:op)?funcid (\d+)', 'g') AS m (ids)
                        INNER JOIN pg_proc AS p ON m.ids[1]::oid = p.oid
                        WHERE p.provolatile <> 'i'
                    ),
                    'generated', a.attgenerated <> '',
                    'collation', COALESCE(
                        (
                            SELECT format('%%I.%%I', cn.nspname, co.collname)
                            FROM pg_collation AS co
                            INNER JOIN pg_namespace AS cn ON co.collnamespace = cn.oid
                            WHERE co.oid = a.attcollation AND a.attcollation <> plain.typcollation
                        ), ''
                    ),
                    'folds', COALESCE(
                        (
                            SELECT NOT co.collisdeterministic
                            FROM pg_collation AS co
                            WHERE co.oid = a.attcollation
                        ), false
                    ),
                    -- The equality of the type's default operator class, which only a superuser can create.
                    -- Types without one, such as arrays and enums, use an operator of pg_catalog, which needs
                    -- a domain cast to its base type.
                    'equality', COALESCE(
                        (
                            WITH RECURSIVE base AS (
                                SELECT t.oid, t.typbasetype
                                UNION ALL
                                SELECT b.oid, b.typbasetype
                                FROM base
                                INNER JOIN pg_type AS b ON base.typbasetype = b.oid
                            )

                            SELECT jsonb_build_object('in_schema', ns.nspname, 'name', o.oprname)
                            FROM base
                            INNER JOIN pg_opclass AS oc ON base.oid = oc.opcintype AND oc.opcdefault
                            INNER JOIN pg_am AS m ON oc.opcmethod = m.oid AND m.amname = 'btree'
                            INNER JOIN pg_amop AS ao
                                ON
                                    oc.opcfamily = ao.amopfamily
                                    AND oc.opcintype = ao.amoplefttype
                                    AND oc.opcintype = ao.amoprighttype
                                    AND ao.amopstrategy = 3
                            INNER JOIN pg_operator AS o ON ao.amopopr = o.oid
                            INNER JOIN pg_namespace AS ns ON o.oprnamespace = ns.oid
                            WHERE base.typbasetype = 0
                        ),
                        jsonb_build_object(
                            'as_type', CASE t.typtype WHEN 'd' THEN format_type(plain.oid, NULL) ELSE '' END
                        )
                    )
                ) ORDER BY a.attnum
            )
        FROM pg_attribute AS a
        INNER JOIN pg_type AS t ON a.atttypid = t.oid
        LEFT JOIN pg_attrdef AS f ON a.attrelid = f.adrelid AND a.attnum = f.adnum
        -- The default of the column, or else that of its domain.
        CROSS JOIN
            LATERAL (
                SELECT
                    COALESCE(f.adbin::text, t.typdefaultbin::text) AS tree,
                    COALESCE(pg_get_expr(f.adbin, f.adrelid), t.typdefault) AS text
            ) AS value
        CROSS JOIN
            LATERAL (
                WITH RECURSIVE below AS (
                    SELECT
                        t.oid,
                        t.typtype,
                        t.typbasetype,
                        t.typcollation,
                        GREATEST(a.atttypmod, t.typtypmod) AS typmod
                    UNION ALL
                    SELECT
                        b.oid,
                        b.typtype,
                        b.typbasetype,
                        b.typcollation,
                        GREATEST(below.typmod, b.typtypmod)
                    FROM below
                    INNER JOIN pg_type AS b ON below.typbasetype = b.oid
                    WHERE below.typtype = 'd'
                )

                SELECT
                    below.oid,
                    below.typmod,
                    below.typcollation
                FROM below
                WHERE below.typtype <> 'd'
            ) AS plain
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    ) AS columns,
    (
        SELECT COALESCE(jsonb_agg(a.attname ORDER BY k.position), '[]')
        FROM pg_index AS i
        CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k (attnum, position)
        INNER JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
        WHERE i.indrelid = c.oid AND i.indisprimary
    ) AS primary_key,
    -- The primary key, if it can be dropped and created again: no reference, view, replica identity or
    -- comment depends on it.
    (
        SELECT
            COALESCE(
                jsonb_agg(
                    jsonb_build_object(
                        'name', r.conname,
                        'columns', '[]'::jsonb,
                        'definition', pg_get_constraintdef(r.oid),
                        'rebuildable', true
                    )
                ), '[]'
            )
        FROM pg_constraint AS r
        INNER JOIN pg_index AS i ON r.conindid = i.indexrelid
        WHERE
            r.conrelid = c.oid
            AND r.contype = 'p'
            AND r.coninhcount = 0
            AND NOT (i.indisreplident OR i.indisclustered)
            AND obj_description(r.oid, 'pg_constraint') IS NULL
            AND NOT EXISTS (SELECT FROM pg_constraint AS f WHERE f.confrelid = c.oid AND f.contype = 'f')
            AND NOT EXISTS (
                SELECT
                FROM pg_depend AS d
                WHERE d.refclassid = 'pg_constraint'::regclass AND d.refobjid = r.oid AND d.deptype = 'n'
            )
    ) AS rebuildable,
    (
        SELECT count(*) > 0
        FROM pg_constraint AS r
        WHERE r.conrelid = c.oid AND r.condeferrable
    ) AS "deferrable",
    -- Unique and exclusion constraints and indexes.
    (
        SELECT
            COALESCE(
                jsonb_agg(
                    jsonb_build_object(
                        'name', x.relname,
                        'columns', (
                            SELECT COALESCE(jsonb_agg(a.attname ORDER BY k.position), '[]')
                            FROM unnest(i.indkey) WITH ORDINALITY AS k (attnum, position)
                            INNER JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
                            WHERE k.position <= i.indnkeyatts
                        ),
                        'definition', COALESCE(pg_get_constraintdef(r.oid), pg_get_indexdef(i.indexrelid)),
                        'rebuildable', false
                    ) ORDER BY x.relname
                ), '[]'
            )
        FROM pg_index AS i
        INNER JOIN pg_class AS x ON i.indexrelid = x.oid
        LEFT JOIN pg_constraint AS r ON x.oid = r.conindid AND c.oid = r.conrelid AND r.contype <> 'f'
        WHERE i.indrelid = c.oid AND (i.indisunique OR i.indisexclusion)
    ) AS uniques,
    (
        SELECT
            COALESCE(
                jsonb_agg(
                    jsonb_build_object(
                        'name', r.conname,
                        'columns', (
                            SELECT jsonb_agg(a.attname ORDER BY k.position)
                            FROM unnest(r.conkey) WITH ORDINALITY AS k (attnum, position)
                            INNER JOIN pg_attribute AS a ON a.attrelid = r.conrelid AND a.attnum = k.attnum
                        ),
                        'to_schema', tn.nspname,
                        'to_table', tc.relname,
                        'to_columns', (
                            SELECT jsonb_agg(a.attname ORDER BY k.position)
                            FROM unnest(r.confkey) WITH ORDINALITY AS k (attnum, position)
                            INNER JOIN pg_attribute AS a ON a.attrelid = r.confrelid AND a.attnum = k.attnum
                        ),
                        'equality', (
                            SELECT
                                jsonb_agg(
                                    jsonb_build_object('in_schema', n.nspname, 'name', o.oprname)
                                    ORDER BY k.position
                                )
                            FROM unnest(r.conpfeqop) WITH ORDINALITY AS k (operator, position)
                            INNER JOIN pg_operator AS o ON k.operator = o.oid
                            INNER JOIN pg_namespace AS n ON o.oprnamespace = n.oid
                        ),
                        'definition', pg_get_constraintdef(r.oid),
                        -- A constraint that is NOT VALID for old rows cannot be added back.
                        'rebuildable', r.convalidated AND r.conislocal AND r.coninhcount = 0
                        AND obj_description(r.oid, 'pg_constraint') IS NULL
                    ) ORDER BY r.conname
                ), '[]'
            )
        FROM pg_constraint AS r
        INNER JOIN pg_class AS tc ON r.confrelid = tc.oid
        INNER JOIN pg_namespace AS tn ON tc.relnamespace = tn.oid
        -- conenforced came with Postgres 18.
        WHERE
            r.conrelid = c.oid
            AND r.contype = 'f'
            AND COALESCE((to_jsonb(r) ->> 'conenforced')::boolean, true)
            -- A reference to a partitioned table has one for each partition, which need not have the row.
            AND NOT EXISTS (
                SELECT FROM pg_constraint AS p WHERE r.conparentid = p.oid AND r.conrelid = p.conrelid
            )
    ) AS "references",
    (
        SELECT
            COALESCE(
                jsonb_agg(
                    jsonb_build_object(
                        'name', r.conname,
                        'columns', (
                            SELECT COALESCE(jsonb_agg(a.attname), '[]')
                            FROM pg_attribute AS a
                            WHERE a.attrelid = r.conrelid AND a.attnum = ANY(r.conkey)
                        ),
                        'expression', pg_get_expr(r.conbin, r.conrelid),
                        'definition', pg_get_constraintdef(r.oid),
                        -- A constraint that is NOT VALID for old rows cannot be added back.
                        'rebuildable', r.convalidated AND r.conislocal AND r.coninhcount = 0
                        AND obj_description(r.oid, 'pg_constraint') IS NULL
                    ) ORDER BY r.conname
                ), '[]'
            )
        FROM pg_constraint AS r
        WHERE
            r.conrelid = c.oid
            AND r.contype = 'c'
            AND COALESCE((to_jsonb(r) ->> 'conenforced')::boolean, true)
    ) AS rules
FROM pg_class AS c
INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
WHERE n.nspname = %(schema)s AND c.relname = ANY(%(tables)s) AND c.relkind IN ('r', 'p')
