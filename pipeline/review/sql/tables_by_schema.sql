-- The tables of the schema etl that hold rows of several schemas.
SELECT c.oid::regclass::text
FROM pg_class AS c
INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
INNER JOIN pg_attribute AS a ON a.attrelid = c.oid
WHERE n.nspname = 'etl' AND c.relkind = 'r' AND a.attname = 'schema_name' AND NOT a.attisdropped
