-- What each relation consists of: `heaps`, the tables that its rows lie in, and digests of all that decides
-- on the values that these rows show although nobody writes them. `relations`: the relation itself, its
-- partitions, tables that inherit from it, and what its views select from. `columns`: theirs. `types`: types
-- in depth, and collations. `code`: what views select, and functions that they call. Constraints, defaults,
-- rights, policies, indexes and statistics decide on nothing that is there already.
-- Binds: relations (oids).
WITH RECURSIVE named AS (
    SELECT oid
    FROM pg_class
    WHERE oid = ANY(%(relations)s)
),

-- A partition that is being detached shows its rows no more. Before Postgres 14 there is no such thing.
children AS (
    SELECT i.inhparent, i.inhrelid
    FROM pg_inherits AS i
    WHERE NOT COALESCE((to_jsonb(i) ->> 'inhdetachpending')::boolean, false)
),

parts (root, catalogue, object) AS (
    SELECT oid, 'pg_class'::regclass::oid, oid FROM named
    UNION
    SELECT parts.root, further.catalogue, further.object
    FROM parts
    CROSS JOIN LATERAL (
        SELECT d.refclassid, d.refobjid
        FROM pg_depend AS d
        WHERE
            d.classid = parts.catalogue
            AND d.objid = parts.object
            AND d.refclassid IN (
                'pg_class'::regclass, 'pg_type'::regclass, 'pg_proc'::regclass,
                'pg_operator'::regclass, 'pg_collation'::regclass
            )
            -- A partition is read without its parent and siblings.
            AND NOT (d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass)
        UNION ALL
        SELECT 'pg_class'::regclass, children.inhrelid
        FROM children
        WHERE parts.catalogue = 'pg_class'::regclass AND children.inhparent = parts.object
        UNION ALL
        SELECT 'pg_rewrite'::regclass, r.oid
        FROM pg_rewrite AS r
        INNER JOIN pg_class AS v ON r.ev_class = v.oid AND v.relkind = 'v'
        WHERE parts.catalogue = 'pg_class'::regclass AND r.ev_class = parts.object AND r.ev_type = '1'
        UNION ALL
        SELECT 'pg_class'::regclass, t.typrelid
        FROM pg_type AS t
        WHERE parts.catalogue = 'pg_type'::regclass AND t.oid = parts.object AND t.typrelid <> 0
    ) AS further (catalogue, object)
),

relations AS (
    SELECT
        parts.root,
        string_agg(c.oid::text, ',' ORDER BY c.oid) FILTER (WHERE c.relkind IN ('r', 'm')) AS heaps,
        string_agg(
            concat_ws(' ', c.oid, c.relkind, c.relam, f.ftoptions, s.srvoptions), E'\n' ORDER BY c.oid
        ) AS definition
    FROM parts
    INNER JOIN pg_class AS c ON parts.object = c.oid AND c.relkind <> 'c'
    LEFT JOIN pg_foreign_table AS f ON c.oid = f.ftrelid
    LEFT JOIN pg_foreign_server AS s ON f.ftserver = s.oid
    WHERE parts.catalogue = 'pg_class'::regclass
    GROUP BY parts.root
),

attributes AS (
    SELECT
        parts.root,
        c.relkind = 'c' AS of_type,
        string_agg(
            concat_ws(
                ' ', c.oid, a.attnum, a.attname, a.atttypid, a.atttypmod, a.attcollation, a.attgenerated,
                CASE WHEN a.attgenerated <> '' THEN e.adbin::text END
            ), E'\n' ORDER BY c.oid, a.attnum
        ) AS definition
    FROM parts
    INNER JOIN pg_class AS c ON parts.object = c.oid
    INNER JOIN pg_attribute AS a ON c.oid = a.attrelid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef AS e ON a.attrelid = e.adrelid AND a.attnum = e.adnum
    WHERE parts.catalogue = 'pg_class'::regclass
    GROUP BY parts.root, c.relkind = 'c'
),

types AS (
    SELECT
        parts.root,
        string_agg(
            concat_ws(
                ' ', parts.object, t.typtype, t.typbasetype, t.typtypmod, t.typelem, labels.listed,
                to_jsonb(c) - '{collname,collnamespace,collowner}'::text[]
            ), E'\n' ORDER BY parts.object
        ) AS definition
    FROM parts
    LEFT JOIN pg_type AS t ON parts.catalogue = 'pg_type'::regclass AND parts.object = t.oid
    LEFT JOIN pg_collation AS c ON parts.catalogue = 'pg_collation'::regclass AND parts.object = c.oid
    CROSS JOIN
        LATERAL (
            SELECT array_agg(e.enumlabel ORDER BY e.enumsortorder) AS listed
            FROM pg_enum AS e
            WHERE e.enumtypid = t.oid
        ) AS labels
    WHERE parts.catalogue IN ('pg_type'::regclass, 'pg_collation'::regclass)
    GROUP BY parts.root
),

code AS (
    SELECT
        parts.root,
        string_agg(
            concat_ws(
                ' ', parts.object, r.ev_action::text, to_jsonb(p) - '{proowner,proacl}'::text[], o.oprcode
            ),
            E'\n' ORDER BY parts.catalogue, parts.object
        ) AS definition
    FROM parts
    LEFT JOIN pg_rewrite AS r ON parts.catalogue = 'pg_rewrite'::regclass AND parts.object = r.oid
    LEFT JOIN pg_proc AS p ON parts.catalogue = 'pg_proc'::regclass AND parts.object = p.oid
    LEFT JOIN pg_operator AS o ON parts.catalogue = 'pg_operator'::regclass AND parts.object = o.oid
    WHERE parts.catalogue IN ('pg_rewrite'::regclass, 'pg_proc'::regclass, 'pg_operator'::regclass)
    GROUP BY parts.root
)

SELECT
    named.oid::bigint AS relation,
    COALESCE(relations.heaps, '') AS heaps,
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
