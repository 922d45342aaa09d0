-- Insert the last imported version of each key that a dimension lacks: facts may refer to it.
-- Names: table, columns, values (the same columns of the row i), key (those of the key),
-- same_key (a condition on the row i and s).
INSERT INTO {table} ({columns})
SELECT DISTINCT ON ({key}) {values}
FROM pg_temp.imported_versions AS i
WHERE NOT EXISTS (SELECT FROM {table} AS s WHERE {same_key})
ORDER BY {key}, i.begun DESC
