-- Give versions that mark a deletion the added columns of the version before.
-- Names: table, assignments (of columns of s), same_key (a condition on t and s).
UPDATE {table} AS t
SET {assignments}
FROM {table} AS s
WHERE t.deleted AND {same_key} AND s.superseded_at = t.recorded_at
