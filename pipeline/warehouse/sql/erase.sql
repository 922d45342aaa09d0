-- Replace personal values in the versions of some keys: in those that show the old value, or in all where
-- the old value is unknown.
-- Names: relation, assignments, key, old.
UPDATE {relation} AS w
SET {assignments}
FROM pg_temp.erased AS e
CROSS JOIN LATERAL jsonb_populate_record(NULL::{relation}, e.new) AS r
WHERE {key} = e.key AND COALESCE({old} = e.old, {old} <> e.new)
