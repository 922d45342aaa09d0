-- The history of a dimension's rows ends whose key left the model's result; the rows themselves stay.
UPDATE {versions} AS t
SET valid_to = %(at)s, deleted = true
FROM pg_temp.gone_keys AS s
WHERE {same_key} AND t.valid_to IS NULL AND NOT EXISTS (SELECT FROM {stage} AS r WHERE {restaged})
