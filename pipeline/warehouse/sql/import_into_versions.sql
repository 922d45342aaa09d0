-- Insert imported versions into the versions of a dimension or bridge.
-- Names: relation, columns, values (the same columns of the row i).
INSERT INTO {relation} ({columns}, valid_from, valid_to, deleted)
SELECT
    {values},
    i.begun,
    i.ended,
    i.is_deleted
FROM pg_temp.imported_versions AS i
WHERE NOT i.is_continued
