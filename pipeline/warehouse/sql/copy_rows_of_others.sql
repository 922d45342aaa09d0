-- Copy the rows of a dimension that have no version: the pipeline did not load them.
-- Names: table, rebuilt, versions, same_key (a condition on t and s), columns.
INSERT INTO {rebuilt} ({columns})
SELECT {columns}
FROM {table} AS t
WHERE NOT EXISTS (SELECT FROM {versions} AS s WHERE {same_key})
