-- The foreign keys of the schema, each over one column.
SELECT
    child.relname AS table_name,
    reference.conname AS reference_name,
    own.attname AS column_name,
    parent.relname AS parent_name
FROM pg_constraint AS reference
INNER JOIN pg_class AS child ON child.oid = reference.conrelid
INNER JOIN pg_class AS parent ON parent.oid = reference.confrelid
INNER JOIN pg_attribute AS own
    ON own.attrelid = reference.conrelid AND own.attnum = reference.conkey[1]
WHERE reference.contype = 'f' AND reference.connamespace = current_schema()::regnamespace
ORDER BY child.relname, reference.conname;
