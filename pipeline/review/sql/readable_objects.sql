-- The views and functions of a schema with their columns: name, type and meaning of each.
-- Binds: schema.
SELECT
    c.relname::text AS name,
    NULL AS arguments,
    obj_description(c.oid, 'pg_class') AS meaning,
    jsonb_agg(
        jsonb_build_object(
            'name', a.attname,
            'type', format_type(a.atttypid, a.atttypmod),
            'meaning', col_description(c.oid, a.attnum)
        )
        ORDER BY a.attnum
    ) AS columns
FROM pg_class AS c
INNER JOIN pg_attribute AS a ON c.oid = a.attrelid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = to_regnamespace(%(schema)s) AND c.relkind = 'v'
GROUP BY c.oid, c.relname
UNION ALL
SELECT
    p.proname::text,
    pg_get_function_arguments(p.oid),
    obj_description(p.oid, 'pg_proc'),
    (
        SELECT
            jsonb_agg(
                jsonb_build_object('name', a.name, 'type', format_type(a.type, NULL), 'meaning', NULL)
                ORDER BY a.place
            )
        FROM unnest(p.proargnames, p.proargmodes, p.proallargtypes)
            WITH ORDINALITY AS a (name, mode, type, place)
        WHERE a.mode = 't'
    )
FROM pg_proc AS p
WHERE p.pronamespace = to_regnamespace(%(schema)s) AND p.prokind = 'f'
ORDER BY name
