-- The columns that the marts return, by mart, and the functions among them by their signature.
-- Binds: schema, reporting (the schema for readers).
SELECT
    c.relname::text AS name,
    NULL AS signature,
    array_agg(a.attname::text ORDER BY a.attnum) AS columns
FROM pg_class AS c
INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
INNER JOIN etl.mart AS m ON c.relname = m.mart_name AND m.schema_name = %(schema)s
INNER JOIN pg_attribute AS a ON c.oid = a.attrelid AND a.attnum > 0
WHERE n.nspname = %(reporting)s AND c.relkind = 'v'
GROUP BY c.relname
UNION ALL
SELECT
    p.proname::text,
    p.oid::regprocedure::text,
    (
        SELECT array_agg(a.name ORDER BY a.place)
        FROM unnest(p.proargnames, p.proargmodes) WITH ORDINALITY AS a (name, mode, place)
        WHERE a.mode = 't'
    )
FROM pg_proc AS p
INNER JOIN pg_namespace AS n ON p.pronamespace = n.oid
INNER JOIN etl.mart AS m ON p.proname = m.mart_name AND m.schema_name = %(schema)s
WHERE n.nspname = %(reporting)s
