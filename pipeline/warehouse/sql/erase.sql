-- Values become others in every version of some keys that shows them, or any where it is not known which.
UPDATE {relation} AS w
SET {assignments}
FROM pg_temp.erased AS e
CROSS JOIN LATERAL jsonb_populate_record(NULL::{relation}, e.new) AS r
WHERE {key} = e.key AND COALESCE({old} = e.old, {old} <> e.new)
