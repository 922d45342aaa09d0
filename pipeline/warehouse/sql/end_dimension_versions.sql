-- End the present versions of dimension rows whose key left the model's result. The rows themselves stay.
-- Names: versions, same_key, stage, restaged.
-- Binds: at.
UPDATE {versions} AS t
SET valid_to = %(at)s, deleted = true
FROM pg_temp.deleted_keys AS s
WHERE {same_key} AND t.valid_to IS NULL AND NOT EXISTS (SELECT FROM {stage} AS r WHERE {restaged})
