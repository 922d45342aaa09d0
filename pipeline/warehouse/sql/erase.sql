-- Replace personal values in the versions of some keys: in those that show the old value, or in all if the
-- old value is unknown or the version was imported, so that the lake does not have its values.
-- Names: relation, assignments, key, old, is_imported (a condition on w).
UPDATE {relation} AS w
SET {assignments}
FROM pg_temp.erased AS e
CROSS JOIN LATERAL jsonb_populate_record(NULL::{relation}, e.new) AS r
WHERE {key} = e.key AND (COALESCE({old} = e.old, {old} <> e.new) OR {is_imported})
