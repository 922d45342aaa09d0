-- The columns of the reporting views that the role may read, with their meanings.
-- Binds: schema.
SELECT
    relation.relname AS view, -- noqa: RF04
    obj_description(relation.oid, 'pg_class') AS view_meaning,
    attribute.attname AS name, -- noqa: RF04
    format_type(attribute.atttypid, attribute.atttypmod) AS type, -- noqa: RF04
    col_description(relation.oid, attribute.attnum) AS meaning
FROM pg_class AS relation
INNER JOIN pg_attribute AS attribute ON relation.oid = attribute.attrelid
WHERE
    relation.relnamespace = to_regnamespace(quote_ident(%(schema)s))
    AND relation.relkind IN ('v', 'm', 'r', 'p')
    AND attribute.attnum > 0
    AND NOT attribute.attisdropped
    AND has_table_privilege(relation.oid, 'SELECT')
ORDER BY relation.relname, attribute.attnum
