-- Find the keys of versions that ended before the lake's first batch, by key or by values; for each of their
-- versions that began before it, its values and the names of the columns to erase.
-- Names: relation, key, old, begins, known_since, is_ended, is_found (conditions on w), columns.
WITH found AS (
    SELECT DISTINCT {key} AS row_key
    FROM {relation} AS w
    WHERE {is_ended} AND {is_found}
)

SELECT DISTINCT
    {key}::text,
    {old}::text,
    CASE WHEN {is_ended} THEN {columns} END
FROM {relation} AS w
WHERE w.{begins} < {known_since} AND {key} IN (SELECT f.row_key FROM found AS f)
