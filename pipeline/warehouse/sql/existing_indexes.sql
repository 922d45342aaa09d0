-- The indexes of a schema's tables, by name, with the columns of the class Index; an expression among the
-- columns is an empty text.
-- Binds: schema, copied (the comment of one that was made after that of a dimension).
SELECT
    t.relname::text,
    x.relname::text,
    (
        SELECT array_agg(COALESCE(a.attname::text, '') ORDER BY k.place)
        FROM unnest(i.indkey) WITH ORDINALITY AS k (number, place)
        LEFT JOIN pg_attribute AS a ON a.attrelid = t.oid AND k.number = a.attnum
        WHERE k.place <= i.indnkeyatts
    ),
    i.indisunique,
    (x.oid, t.oid) IN (SELECT r.conindid, r.conrelid FROM pg_constraint AS r),
    i.indisvalid,
    i.indpred IS NULL,
    m.amname = 'btree' AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
    AND NOT EXISTS (SELECT FROM pg_opclass AS o WHERE o.oid = ANY(i.indclass) AND NOT o.opcdefault),
    COALESCE(obj_description(x.oid, 'pg_class') = %(copied)s, false)
FROM pg_index AS i
INNER JOIN pg_class AS t ON i.indrelid = t.oid
INNER JOIN pg_class AS x ON i.indexrelid = x.oid
INNER JOIN pg_am AS m ON x.relam = m.oid
INNER JOIN pg_namespace AS n ON t.relnamespace = n.oid
WHERE n.nspname = %(schema)s
ORDER BY x.relname
