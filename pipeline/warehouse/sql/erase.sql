-- Replace personal values in the versions of some keys: in those that show the old value, or in all others if
-- the old value is unknown or the version is older than the lake, which then does not have its values.
-- Names: relation, assignments, key, old, is_older (a condition on w).
UPDATE {relation} AS w
SET {assignments}
FROM pg_temp.erased AS e
CROSS JOIN LATERAL jsonb_populate_record(NULL::{relation}, e.new) AS r
WHERE
    {key} = e.key
    AND (
        ({old} = e.old AND e.old <> e.new)
        OR (
            (e.old IS NULL OR {is_older})
            AND NOT EXISTS (
                SELECT FROM pg_temp.erased AS s
                WHERE s.key = e.key AND (s.old = {old} OR s.new = {old}) -- noqa: RF01
            )
        )
    )
