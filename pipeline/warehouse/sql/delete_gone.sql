-- Rows whose key left the model's result; what they were stays in the history.
DELETE FROM {table} AS t
USING pg_temp.gone_keys AS s
WHERE {same_key} AND NOT EXISTS (SELECT FROM {stage} AS r WHERE {restaged})
