-- What others have made in the schema for readers under names that the pipeline uses. Its own views read the
-- schema etl, or are marts, which are recorded and marked in their comments.
-- Binds: schema, reporting (the schema for readers), names, mark (a pattern of comments).
WITH of_etl AS (
    SELECT p.oid
    FROM pg_proc AS p
    WHERE p.pronamespace = to_regnamespace('etl')
    UNION ALL
    SELECT t.oid
    FROM pg_class AS t
    WHERE t.relnamespace = to_regnamespace('etl')
)

SELECT pg_describe_object('pg_class'::regclass, c.oid, 0) AS name
FROM pg_class AS c
INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
WHERE
    n.nspname = %(reporting)s
    AND c.relname = ANY(%(names)s)
    AND NOT EXISTS (
        SELECT
        FROM pg_rewrite AS r
        INNER JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
        INNER JOIN of_etl AS e ON d.refobjid = e.oid
        WHERE r.ev_class = c.oid
    )
    AND NOT EXISTS (
        SELECT FROM etl.mart AS m WHERE m.schema_name = %(schema)s AND m.mart_name = c.relname
    )
    AND COALESCE(obj_description(c.oid, 'pg_class'), '') NOT LIKE %(mark)s
UNION ALL
SELECT pg_describe_object('pg_proc'::regclass, p.oid, 0)
FROM pg_proc AS p
INNER JOIN pg_namespace AS n ON p.pronamespace = n.oid
WHERE
    n.nspname = %(reporting)s
    AND p.proname = ANY(%(names)s)
    AND NOT EXISTS (
        SELECT FROM etl.mart AS m WHERE m.schema_name = %(schema)s AND m.mart_name = p.proname
    )
    AND COALESCE(obj_description(p.oid, 'pg_proc'), '') NOT LIKE %(mark)s
ORDER BY name
