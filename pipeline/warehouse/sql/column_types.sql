-- The type of each column of a table: first without length and domain, as a cast to these cuts values off,
-- then as declared.
-- Binds: qualified_name.
SELECT
    a.attname::text,
    (
        WITH RECURSIVE below AS (
            SELECT t.oid, t.typtype, t.typbasetype
            FROM pg_type AS t
            WHERE t.oid = a.atttypid
            UNION ALL
            SELECT t.oid, t.typtype, t.typbasetype
            FROM below
            INNER JOIN pg_type AS t ON below.typbasetype = t.oid
            WHERE below.typtype = 'd'
        )

        SELECT format_type(below.oid, -1)
        FROM below
        WHERE below.typtype <> 'd'
    ),
    format_type(a.atttypid, a.atttypmod)
FROM pg_attribute AS a
WHERE a.attrelid = %(qualified_name)s::regclass AND a.attnum > 0 AND NOT a.attisdropped
