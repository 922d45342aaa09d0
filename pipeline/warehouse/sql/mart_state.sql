-- Which tables there are, and the marts that are recorded, and whether they exist; one row without a mart if
-- none is recorded.
-- Binds: schema, tables, reporting (the schema for readers).
SELECT
    t.oids,
    m.mart_name,
    m.digest,
    c.oid IS NOT NULL OR p.oid IS NOT NULL AS is_there
FROM (
    SELECT array_agg(w.oid::bigint ORDER BY w.relname) AS oids
    FROM pg_class AS w
    INNER JOIN pg_namespace AS s ON w.relnamespace = s.oid
    WHERE s.nspname = %(schema)s AND w.relname = ANY(%(tables)s) AND w.relkind IN ('r', 'p')
) AS t
LEFT JOIN etl.mart AS m ON m.schema_name = %(schema)s
LEFT JOIN pg_namespace AS n ON n.nspname = %(reporting)s
LEFT JOIN pg_class AS c ON n.oid = c.relnamespace AND m.mart_name = c.relname AND c.relkind = 'v'
LEFT JOIN pg_proc AS p ON n.oid = p.pronamespace AND m.mart_name = p.proname
