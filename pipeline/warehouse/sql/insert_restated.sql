-- Insert the rebuilt rows whose keys the table lacks.
-- Names: table, rebuilt, same_key (a condition on t and s), columns, new (the same columns of s).
INSERT INTO {table} ({columns})
SELECT {new}
FROM {rebuilt} AS s
WHERE NOT EXISTS (SELECT FROM {table} AS t WHERE {same_key})
