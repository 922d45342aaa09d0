-- The columns that the marts return, by mart, and the functions among them by their signature.
-- Binds: home (the schema's name), names.
SELECT
    c.relname::text AS name,
    NULL AS signature,
    array_agg(a.attname::text ORDER BY a.attnum) AS columns
FROM pg_class AS c
INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
INNER JOIN pg_attribute AS a ON c.oid = a.attrelid AND a.attnum > 0
WHERE n.nspname = %(home)s AND c.relname = ANY(%(names)s) AND c.relkind = 'v'
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
WHERE n.nspname = %(home)s AND p.proname = ANY(%(names)s)
