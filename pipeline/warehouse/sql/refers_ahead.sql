-- Whether a version refers to a row whose first version is later. A row without versions is somebody else's.
-- Names: versions, begins, has_reference (of the version s), referenced (versions), referenced_begins,
-- same_row (of the version d).
SELECT s.{begins}
FROM {versions} AS s
WHERE
    {has_reference}
    AND EXISTS (SELECT FROM {referenced} AS d WHERE {same_row})
    AND NOT EXISTS (
        SELECT FROM {referenced} AS d
        WHERE {same_row} AND d.{referenced_begins} <= s.{begins}
    )
LIMIT 1 -- noqa: AM09
