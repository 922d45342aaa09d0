-- Columns that a dimension has gained: its present versions have them, earlier ones have not.
UPDATE {versions} AS t
SET {assignments}
FROM {table} AS s
WHERE t.valid_to IS NULL AND {same_key}
