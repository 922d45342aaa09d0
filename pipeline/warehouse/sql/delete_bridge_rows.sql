-- Delete the rows of a bridge whose key left the model's result. Their history keeps them.
-- Names: table, same_key, stage, restaged.
DELETE FROM {table} AS t
USING pg_temp.deleted_keys AS s
WHERE {same_key} AND NOT EXISTS (SELECT FROM {stage} AS r WHERE {restaged})
