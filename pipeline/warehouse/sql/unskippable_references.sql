-- For each table with foreign keys their definitions, and why Postgres has to check them for each row (NULL
-- if a proof by the load is enough): what else `session_replication_role = replica` would skip, and what the
-- proof does not cover.
-- Binds: schema, tables.
WITH chosen AS (
    SELECT c.oid, c.relname, c.relkind
    FROM pg_class AS c
    INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
    WHERE n.nspname = %(schema)s AND c.relname = ANY(%(tables)s)
),

-- conenforced and conperiod came with Postgres 18.
foreign_keys AS (
    SELECT
        r.oid,
        r.conrelid,
        r.conname,
        r.confrelid,
        f.relkind AS kind,
        r.confmatchtype = 'f' AND cardinality(r.conkey) > 1 AS refuses_partial_nulls,
        COALESCE((to_jsonb(r) ->> 'conperiod')::boolean, false) AS is_period
    FROM pg_constraint AS r
    INNER JOIN chosen AS c ON r.conrelid = c.oid
    INNER JOIN pg_class AS f ON r.confrelid = f.oid
    WHERE
        r.contype = 'f'
        AND COALESCE((to_jsonb(r) ->> 'conenforced')::boolean, true)
        -- A reference to a partitioned table has one for each partition, which nobody checks.
        AND NOT EXISTS (
            SELECT FROM pg_constraint AS p WHERE r.conparentid = p.oid AND r.conrelid = p.conrelid
        )
),

-- In the order in which they are reported.
reasons (place, conrelid, reason) AS (
    SELECT 1, c.oid, 'it has partitions, parents or children'
    FROM chosen AS c
    WHERE
        c.relkind = 'p'
        OR EXISTS (SELECT FROM pg_inherits AS i WHERE c.oid IN (i.inhparent, i.inhrelid))
    UNION ALL
    -- Also those of deferrable unique constraints, and of foreign keys that refer to the table.
    SELECT
        3,
        t.tgrelid,
        CASE
            WHEN k.oid IS NULL THEN format('it has the trigger %%I', t.tgname)
            ELSE format('the constraint %%I of %%s needs a trigger', k.conname, k.conrelid::regclass)
        END
    FROM pg_trigger AS t
    LEFT JOIN pg_constraint AS k ON t.tgconstraint = k.oid AND k.contype <> 't'
    LEFT JOIN foreign_keys AS r ON k.oid = r.oid AND r.conrelid = t.tgrelid AND r.confrelid <> t.tgrelid
    WHERE r.oid IS NULL
    UNION ALL
    SELECT 4, r.conrelid, format('%%I is MATCH FULL or has a PERIOD', r.conname)
    FROM foreign_keys AS r
    WHERE r.refuses_partial_nulls OR r.is_period
    UNION ALL
    -- A foreign key does not see the rows of children, which a query does.
    SELECT 5, r.conrelid, format('%%I refers to a table that has children', r.conname)
    FROM foreign_keys AS r
    WHERE r.kind <> 'p' AND EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhparent = r.confrelid)
    UNION ALL
    SELECT 6, r.conrelid, format('the role may not lock %%s', r.confrelid::regclass)
    FROM foreign_keys AS r
    WHERE NOT has_table_privilege(r.confrelid, 'UPDATE, DELETE, TRUNCATE')
    UNION ALL
    -- A function may write to other tables, whose triggers would be skipped, too.
    SELECT 7, o.table_oid, format('it uses the function %%s', p.oid::regprocedure)
    FROM (
        SELECT a.adrelid AS table_oid, 'pg_attrdef'::regclass AS class, a.oid
        FROM pg_attrdef AS a
        UNION ALL
        SELECT i.indrelid, 'pg_class'::regclass, i.indexrelid
        FROM pg_index AS i
        UNION ALL
        SELECT r.conrelid, 'pg_constraint'::regclass, r.oid
        FROM pg_constraint AS r
        UNION ALL
        SELECT a.attrelid, 'pg_constraint'::regclass, r.oid
        FROM pg_attribute AS a
        INNER JOIN pg_constraint AS r ON a.atttypid = r.contypid
    ) AS o
    INNER JOIN chosen AS c ON o.table_oid = c.oid
    INNER JOIN pg_depend AS d ON o.class = d.classid AND o.oid = d.objid
    LEFT JOIN pg_operator AS op ON d.refclassid = 'pg_operator'::regclass AND d.refobjid = op.oid
    INNER JOIN pg_proc AS p
        ON p.oid = CASE d.refclassid WHEN 'pg_proc'::regclass THEN d.refobjid ELSE op.oprcode END
    INNER JOIN pg_language AS l ON p.prolang = l.oid
    WHERE l.lanname NOT IN ('internal', 'c')
)

SELECT
    c.relname::text AS name,
    (
        SELECT jsonb_object_agg(r.conname, pg_get_constraintdef(r.oid))
        FROM foreign_keys AS r
        WHERE r.conrelid = c.oid
    ) AS definitions,
    (SELECT r.reason FROM reasons AS r WHERE r.conrelid = c.oid ORDER BY r.place, r.reason LIMIT 1) AS reason
FROM chosen AS c
WHERE EXISTS (SELECT FROM foreign_keys AS r WHERE r.conrelid = c.oid)
ORDER BY c.relname
