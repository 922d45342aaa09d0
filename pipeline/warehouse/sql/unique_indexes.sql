-- Unique and exclusion indexes of a table that are checked row by row, and can be dropped and created again:
-- no reference, view or partition depends on them.
-- Binds: qualified_name.
SELECT
    r.conname AS constraint_name,
    n.nspname AS index_schema,
    x.relname AS index_name,
    COALESCE(pg_get_constraintdef(r.oid), pg_get_indexdef(x.oid)) AS definition,
    COALESCE(pg_get_expr(i.indpred, i.indrelid), 'true') AS predicate,
    COALESCE((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false) AS nulls_are_equal,
    (
        SELECT array_agg(pg_get_indexdef(x.oid, k.position::integer, false) ORDER BY k.position)
        FROM generate_series(1, i.indnkeyatts) AS k (position)
    ) AS expressions,
    -- The operators of an exclusion constraint, or the equality of a unique index's types.
    (
        SELECT
            array_agg(
                'OPERATOR(' || quote_ident(s.nspname) || '.' || o.oprname || ')' ORDER BY k.position
            )
        FROM generate_series(1, i.indnkeyatts) AS k (position)
        INNER JOIN pg_opclass AS c ON c.oid = i.indclass[k.position - 1]
        INNER JOIN pg_operator AS o
            ON
                o.oid = COALESCE(
                    r.conexclop[k.position],
                    (
                        SELECT a.amopopr
                        FROM pg_amop AS a
                        WHERE
                            a.amopfamily = c.opcfamily
                            AND a.amopstrategy = 3
                            AND a.amoplefttype = c.opcintype
                            AND a.amoprighttype = c.opcintype
                    )
                )
        INNER JOIN pg_namespace AS s ON o.oprnamespace = s.oid
    ) AS operators
FROM pg_index AS i
INNER JOIN pg_class AS x ON i.indexrelid = x.oid
INNER JOIN pg_namespace AS n ON x.relnamespace = n.oid
LEFT JOIN pg_constraint AS r ON x.oid = r.conindid AND r.conrelid = i.indrelid AND r.contype <> 'f'
WHERE
    i.indrelid = %(qualified_name)s::regclass
    AND (i.indisunique OR i.indisexclusion)
    AND i.indimmediate
    AND NOT (i.indisreplident OR i.indisclustered OR x.relispartition)
    AND NOT EXISTS (SELECT FROM pg_constraint AS f WHERE f.conindid = x.oid AND f.contype = 'f')
    AND NOT EXISTS (
        SELECT
        FROM pg_depend AS d
        WHERE
            d.refclassid = 'pg_constraint'::regclass
            AND d.refobjid = r.oid
            AND d.deptype = 'n'
    )
