-- The tables that models name, as the source's catalogue describes them.
-- Binds: schemas and tables (names, in pairs).
WITH RECURSIVE named AS (
    SELECT
        c.*,
        n.nspname
    FROM unnest(%(schemas)s::text[], %(tables)s::text[]) AS wanted (in_schema, name)
    INNER JOIN pg_namespace AS n ON wanted.in_schema = n.nspname
    INNER JOIN pg_class AS c ON n.oid = c.relnamespace AND wanted.name = c.relname
    WHERE c.relkind IN ('r', 'p', 'm', 'v', 'f')
),

-- The relations that store the rows of a table: itself, its partitions and inheriting tables.
tree (root, relation) AS (
    SELECT oid, oid FROM named
    UNION
    SELECT tree.root, i.inhrelid
    FROM tree
    INNER JOIN pg_inherits AS i ON tree.relation = i.inhparent
),

-- A column's type, then its base type or element type, down to a type that is no domain or array.
chain (relation, number, depth, type, modifier, brackets) AS (
    SELECT a.attrelid, a.attnum, 0, a.atttypid, a.atttypmod, ''
    FROM named
    INNER JOIN pg_attribute AS a ON named.oid = a.attrelid AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT
        chain.relation,
        chain.number,
        chain.depth + 1,
        CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.typelem END,
        CASE t.typtype WHEN 'd' THEN t.typtypmod ELSE chain.modifier END,
        CASE t.typtype WHEN 'd' THEN chain.brackets ELSE '[]' END
    FROM chain
    INNER JOIN pg_type AS t ON chain.type = t.oid
    WHERE t.typtype = 'd' OR (t.typcategory = 'A' AND t.typlen = -1)
),

-- char(n) is read without trailing blanks, as Postgres compares it; money as a number.
described AS (
    SELECT
        a.attrelid,
        a.attnum,
        jsonb_build_object(
            'name', a.attname,
            -- A user-defined type has its name without a schema.
            'type', COALESCE(read_as.money, regexp_replace(spelled.type, spelled.schema, '')),
            'cast', COALESCE(read_as.money, read_as.text),
            'labels', (
                SELECT COALESCE(array_agg(e.enumlabel ORDER BY e.enumsortorder), '{}')
                FROM pg_enum AS e
                WHERE e.enumtypid = innermost.type AND innermost.brackets = ''
            ),
            'equality', CASE
                -- In a Turkish locale I and i are different letters.
                WHEN innermost.name = 'citext' AND lower('I' COLLATE "default") = 'i' THEN 'case-insensitive'
                WHEN innermost.name = 'citext' THEN 'collation'
                WHEN NOT l.collisdeterministic THEN 'collation'
                ELSE 'exact'
            END
        ) AS as_json
    FROM named
    INNER JOIN pg_attribute AS a ON named.oid = a.attrelid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_collation AS l ON a.attcollation = l.oid
    CROSS JOIN
        LATERAL (
            SELECT
                format_type(chain.type, chain.modifier) AS type,
                CASE n.nspname WHEN 'pg_catalog' THEN '^$' ELSE '^("([^"]|"")+"|[^".]+)\.' END AS schema
            FROM chain
            INNER JOIN pg_type AS t ON chain.type = t.oid AND t.typtype <> 'd'
            INNER JOIN pg_namespace AS n ON t.typnamespace = n.oid
            WHERE chain.relation = a.attrelid AND chain.number = a.attnum
            ORDER BY chain.depth
            LIMIT 1
        ) AS spelled
    CROSS JOIN
        LATERAL (
            SELECT chain.type, chain.brackets, t.typname AS name
            FROM chain
            INNER JOIN pg_type AS t ON chain.type = t.oid
            WHERE chain.relation = a.attrelid AND chain.number = a.attnum
            ORDER BY chain.depth DESC
            LIMIT 1
        ) AS innermost
    CROSS JOIN LATERAL (
        SELECT
            CASE innermost.type
                WHEN 'money'::regtype
                    THEN format('numeric(19,%%s)', scale('0'::money::numeric)) || innermost.brackets
            END AS money,
            CASE
                WHEN innermost.type = 'bpchar'::regtype OR innermost.name = 'citext'
                    THEN 'text' || innermost.brackets
            END AS text
    ) AS read_as
)

SELECT
    c.oid::bigint AS relation,
    c.nspname AS in_schema,
    c.relname AS name,
    has_schema_privilege(c.relnamespace, 'USAGE') AS may_use_schema,
    shape.has_xmin,
    -- System columns need SELECT on the table, or on these columns by name.
    COALESCE(rights.to_xmin, false) AS may_read_xmin,
    -- Postgres 14 is the first version that reads a range of pages without reading the others.
    c.relkind IN ('r', 'm') AND shape.has_xmin AND rights.to_xmin
    AND current_setting('server_version_num')::integer >= 140000 AS has_pages,
    NOT c.relhassubclass
    AND COALESCE(pg_relation_size(NULLIF(c.reltoastrelid, 0)), 0) = 0 AS self_contained,
    GREATEST(c.reltuples, 0)::bigint AS estimated_rows,
    COALESCE(pg_table_size(c.oid), 0) / current_setting('block_size')::bigint AS pages,
    CASE
        WHEN c.relkind IN ('r', 'p', 'm') THEN (
            WITH RECURSIVE family AS (
                SELECT c.oid
                UNION
                SELECT i.inhrelid
                FROM pg_inherits AS i
                INNER JOIN family AS f ON i.inhparent = f.oid
            )

            SELECT sum(pg_relation_size(f.oid))::bigint
            FROM family AS f
        )
    END AS bytes,
    (
        SELECT
            CASE
                WHEN bool_and(has_column_privilege(i.indrelid, k.attnum, 'SELECT'))
                    THEN array_agg(a.attname::text ORDER BY k.position)
                ELSE '{}'
            END
        FROM pg_index AS i
        CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k (attnum, position)
        INNER JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
        -- The primary key of a table with inheriting tables covers its own rows only.
        WHERE i.indrelid = c.oid AND i.indisprimary AND NOT (c.relkind = 'r' AND c.relhassubclass)
    ) AS key,
    columns.readable AS columns,
    columns.unreadable
FROM named AS c
CROSS JOIN
    LATERAL (
        SELECT bool_and(leaf.relkind = 'p' OR (leaf.relkind IN ('r', 'm') AND m.amname = 'heap')) AS has_xmin
        FROM tree
        INNER JOIN pg_class AS leaf ON tree.relation = leaf.oid
        LEFT JOIN pg_am AS m ON leaf.relam = m.oid
        WHERE tree.root = c.oid
    ) AS shape
CROSS JOIN
    LATERAL (
        SELECT bool_and(has_column_privilege(c.oid, a.attnum, 'SELECT')) AS to_xmin
        FROM pg_attribute AS a
        WHERE a.attrelid = c.oid AND a.attname IN ('xmin', 'ctid', 'tableoid') AND a.attnum < 0
    ) AS rights
CROSS JOIN LATERAL (
    SELECT
        COALESCE(jsonb_agg(d.as_json ORDER BY d.attnum) FILTER (WHERE may.read), '[]') AS readable,
        COALESCE(jsonb_agg(d.as_json ORDER BY d.attnum) FILTER (WHERE NOT may.read), '[]') AS unreadable
    FROM described AS d
    CROSS JOIN LATERAL (SELECT has_column_privilege(d.attrelid, d.attnum, 'SELECT') AS read) AS may
    WHERE d.attrelid = c.oid
) AS columns
