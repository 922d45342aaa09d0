-- Give versions that lack the values of defaults those of the dimension's rows.
-- Names: versions, table, assignments, old (columns of t), same_key (a condition on t and s).
UPDATE {versions} AS t
SET {assignments}
FROM {table} AS s
WHERE row({old}) IS NULL AND {same_key}
