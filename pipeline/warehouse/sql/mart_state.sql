-- The marts that are recorded, and whether they exist.
-- Binds: schema, reporting (the schema for readers).
SELECT
    m.mart_name,
    m.digest,
    c.oid IS NOT NULL OR p.oid IS NOT NULL AS is_there
FROM etl.mart AS m
LEFT JOIN pg_namespace AS n ON n.nspname = %(reporting)s
LEFT JOIN pg_class AS c ON n.oid = c.relnamespace AND m.mart_name = c.relname AND c.relkind = 'v'
LEFT JOIN pg_proc AS p ON n.oid = p.pronamespace AND m.mart_name = p.proname
WHERE m.schema_name = %(schema)s
