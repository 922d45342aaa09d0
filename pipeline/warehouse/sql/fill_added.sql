-- Fill the added columns of each version.
-- Names: table, assignments (of columns of s), same_key (a condition on t and s).
UPDATE {table} AS t
SET {assignments}
FROM pg_temp.added AS s
WHERE {same_key} AND t.recorded_at = s.recorded_at AND NOT t.deleted
