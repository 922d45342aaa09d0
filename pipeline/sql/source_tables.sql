-- The tables that models name, as the source's catalogue describes them.
-- Binds: schema, tables (names).
SELECT
    c.relname AS name,
    c.relkind IN ('r', 'p', 'm') AS has_xmin,
    -- Postgres 14 is the first that finds a range of pages without reading all others.
    c.relkind IN ('r', 'm') AND current_setting('server_version_num')::integer >= 140000 AS has_pages,
    NOT c.relhassubclass
    AND COALESCE(pg_relation_size(NULLIF(c.reltoastrelid, 0)), 0) = 0 AS self_contained,
    GREATEST(c.reltuples, 0)::bigint AS estimated_rows,
    pg_table_size(c.oid) / current_setting('block_size')::bigint AS pages,
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
    -- Another set of heaps under the same name may hold rows older than the last batch.
    (
        SELECT COALESCE(string_agg(leaf.relid::oid::text, ',' ORDER BY leaf.relid::oid), c.oid::text)
        FROM pg_partition_tree(c.oid) AS leaf
        WHERE leaf.isleaf
    ) AS heaps,
    (
        SELECT COALESCE(array_agg(a.attname::text ORDER BY k.position), '{}')
        FROM pg_index AS i
        CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k (attnum, position)
        INNER JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
        -- Of a table that others inherit from, the key holds for its own rows only.
        WHERE i.indrelid = c.oid AND i.indisprimary AND NOT (c.relkind = 'r' AND c.relhassubclass)
    ) AS key,
    (
        SELECT COALESCE(array_agg(a.attname::text ORDER BY a.attnum), '{}')
        FROM pg_attribute AS a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    ) AS column_names,
    (
        SELECT
            COALESCE(
                array_agg(
                    CASE t.typtype
                        WHEN 'd' THEN format_type(t.typbasetype, t.typtypmod)
                        ELSE format_type(a.atttypid, a.atttypmod)
                    END ORDER BY a.attnum
                ), '{}'
            )
        FROM pg_attribute AS a
        INNER JOIN pg_type AS t ON a.atttypid = t.oid
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    ) AS column_types
FROM pg_class AS c
INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
WHERE
    n.nspname = %(schema)s
    AND c.relname = ANY(%(tables)s)
    AND c.relkind IN ('r', 'p', 'm', 'v', 'f')
