-- The definition of each relation: `heaps`, the tables that store its rows; `filenodes`, their files, empty
-- if one is unlogged or unknown; and digests of everything that can change values of rows that nobody writes.
-- `relations`: the relation, its partitions, inheriting tables, and the relations of its views. `columns`:
-- the columns of these. `types`: types, with the types inside them, and collations. `code`: queries of views,
-- and functions that they call. Constraints, defaults, rights, policies, indexes and statistics never change
-- an existing value, so they are left out. `names_objects`: a value is printed as the name of an object.
-- Binds: relations (oids).
WITH RECURSIVE named AS (
    SELECT oid
    FROM pg_class
    WHERE oid = ANY(%(relations)s)
),

-- A partition that is being detached (possible since Postgres 14) no longer shows its rows.
children AS (
    SELECT i.inhparent, i.inhrelid
    FROM pg_inherits AS i
    WHERE NOT COALESCE((to_jsonb(i) ->> 'inhdetachpending')::boolean, false)
),

objects (root, catalogue, object) AS (
    SELECT oid, 'pg_class'::regclass::oid, oid FROM named
    UNION
    SELECT objects.root, further.catalogue, further.object
    FROM objects
    CROSS JOIN LATERAL (
        SELECT d.refclassid, d.refobjid
        FROM pg_depend AS d
        WHERE
            d.classid = objects.catalogue
            AND d.objid = objects.object
            AND d.refclassid IN (
                'pg_class'::regclass, 'pg_type'::regclass, 'pg_proc'::regclass,
                'pg_operator'::regclass, 'pg_collation'::regclass
            )
            -- Reading a partition does not read its parent.
            AND NOT (d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass)
        UNION ALL
        SELECT 'pg_class'::regclass, children.inhrelid
        FROM children
        WHERE objects.catalogue = 'pg_class'::regclass AND children.inhparent = objects.object
        UNION ALL
        SELECT 'pg_rewrite'::regclass, r.oid
        FROM pg_rewrite AS r
        INNER JOIN pg_class AS v ON r.ev_class = v.oid AND v.relkind = 'v'
        WHERE objects.catalogue = 'pg_class'::regclass AND r.ev_class = objects.object AND r.ev_type = '1'
        UNION ALL
        SELECT 'pg_class'::regclass, t.typrelid
        FROM pg_type AS t
        WHERE objects.catalogue = 'pg_type'::regclass AND t.oid = objects.object AND t.typrelid <> 0
    ) AS further (catalogue, object)
),

relations AS (
    SELECT
        objects.root,
        string_agg(c.oid::text, ',' ORDER BY c.oid) FILTER (WHERE c.relkind IN ('r', 'm')) AS heaps,
        string_agg(c.relfilenode::text, ',' ORDER BY c.oid)
        FILTER (WHERE c.relkind IN ('r', 'm')) AS filenodes,
        -- A file of the catalogue has no number here.
        bool_and(c.relpersistence = 'p' AND c.relfilenode <> 0)
        FILTER (WHERE c.relkind IN ('r', 'm')) AS logged,
        string_agg(
            concat_ws(' ', c.oid, c.relkind, c.relam, f.ftoptions, s.srvoptions), E'\n' ORDER BY c.oid
        ) AS definition
    FROM objects
    INNER JOIN pg_class AS c ON objects.object = c.oid AND c.relkind <> 'c'
    LEFT JOIN pg_foreign_table AS f ON c.oid = f.ftrelid
    LEFT JOIN pg_foreign_server AS s ON f.ftserver = s.oid
    WHERE objects.catalogue = 'pg_class'::regclass
    GROUP BY objects.root
),

attributes AS (
    SELECT
        objects.root,
        c.relkind = 'c' AS of_type,
        string_agg(
            concat_ws(
                ' ', c.oid, a.attnum, a.attname, a.atttypid, a.atttypmod, a.attcollation, a.attgenerated,
                CASE WHEN a.attgenerated <> '' THEN e.adbin::text END
            ), E'\n' ORDER BY c.oid, a.attnum
        ) AS definition
    FROM objects
    INNER JOIN pg_class AS c ON objects.object = c.oid
    INNER JOIN pg_attribute AS a ON c.oid = a.attrelid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef AS e ON a.attrelid = e.adrelid AND a.attnum = e.adnum
    WHERE objects.catalogue = 'pg_class'::regclass
    GROUP BY objects.root, c.relkind = 'c'
),

types AS (
    SELECT
        objects.root,
        string_agg(
            concat_ws(
                ' ', objects.object, t.typtype, t.typbasetype, t.typtypmod, t.typelem, labels.listed,
                to_jsonb(c) - '{collname,collnamespace,collowner}'::text[]
            ), E'\n' ORDER BY objects.object
        ) AS definition
    FROM objects
    LEFT JOIN pg_type AS t ON objects.catalogue = 'pg_type'::regclass AND objects.object = t.oid
    LEFT JOIN pg_collation AS c ON objects.catalogue = 'pg_collation'::regclass AND objects.object = c.oid
    CROSS JOIN
        LATERAL (
            SELECT array_agg(e.enumlabel ORDER BY e.enumsortorder) AS listed
            FROM pg_enum AS e
            WHERE e.enumtypid = t.oid
        ) AS labels
    WHERE objects.catalogue IN ('pg_type'::regclass, 'pg_collation'::regclass)
    GROUP BY objects.root
),

code AS (
    SELECT
        objects.root,
        string_agg(
            concat_ws(
                ' ', objects.object, r.ev_action::text, to_jsonb(p) - '{proowner,proacl}'::text[], o.oprcode
            ),
            E'\n' ORDER BY objects.catalogue, objects.object
        ) AS definition
    FROM objects
    LEFT JOIN pg_rewrite AS r ON objects.catalogue = 'pg_rewrite'::regclass AND objects.object = r.oid
    LEFT JOIN pg_proc AS p ON objects.catalogue = 'pg_proc'::regclass AND objects.object = p.oid
    LEFT JOIN pg_operator AS o ON objects.catalogue = 'pg_operator'::regclass AND objects.object = o.oid
    WHERE objects.catalogue IN ('pg_rewrite'::regclass, 'pg_proc'::regclass, 'pg_operator'::regclass)
    GROUP BY objects.root
),

-- Types that print the name of an object, which another session can rename.
printing (type) AS (
    SELECT oid
    FROM pg_type
    WHERE typnamespace = 'pg_catalog'::regnamespace AND typname ~ '^_?(reg[a-z]+|aclitem)$'
),

naming AS (
    SELECT DISTINCT objects.root
    FROM objects
    LEFT JOIN pg_attribute AS a
        ON
            objects.catalogue = 'pg_class'::regclass AND objects.object = a.attrelid
            AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_type AS t ON objects.catalogue = 'pg_type'::regclass AND objects.object = t.oid
    LEFT JOIN pg_range AS r ON t.oid = r.rngtypid
    INNER JOIN printing ON printing.type IN (a.atttypid, t.typbasetype, r.rngsubtype)
)

SELECT
    named.oid::bigint AS relation,
    COALESCE(relations.heaps, '') AS heaps,
    CASE WHEN relations.logged THEN relations.filenodes ELSE '' END AS filenodes,
    naming.root IS NOT NULL AS names_objects,
    hashtextextended(COALESCE(relations.definition, ''), 0)::text AS relations,
    hashtextextended(COALESCE(columns.definition, ''), 0)::text AS columns,
    hashtextextended(concat_ws(E'\n', types.definition, attributes.definition), 0)::text AS types,
    hashtextextended(COALESCE(code.definition, ''), 0)::text AS code
FROM named
LEFT JOIN relations ON named.oid = relations.root
LEFT JOIN attributes AS columns ON named.oid = columns.root AND NOT columns.of_type
LEFT JOIN attributes ON named.oid = attributes.root AND attributes.of_type
LEFT JOIN types ON named.oid = types.root
LEFT JOIN code ON named.oid = code.root
LEFT JOIN naming ON named.oid = naming.root
