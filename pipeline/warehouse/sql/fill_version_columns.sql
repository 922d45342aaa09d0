-- Copy columns that a dimension has gained into its present versions. Earlier versions keep NULL.
-- Names: versions, assignments, table, same_key.
UPDATE {versions} AS t
SET {assignments}
FROM {table} AS s
WHERE t.valid_to IS NULL AND {same_key}
