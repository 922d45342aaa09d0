-- Insert imported versions into a fact, and a version marked deleted where the row was away.
-- Names: relation, columns, values (the same columns of the row i).
INSERT INTO {relation} ({columns}, recorded_at, superseded_at, deleted)
SELECT
    {values},
    i.begun,
    i.ended,
    false
FROM pg_temp.imported_versions AS i
WHERE NOT i.is_continued
UNION ALL
SELECT
    {values},
    i.ended,
    i.next_begun,
    true
FROM pg_temp.imported_versions AS i
WHERE i.is_deleted
