-- Let versions of the first batch begin when the imported ones that equal them do.
-- Names: relation, begins, same_key (a condition on the row i and s). Binds: base.
UPDATE {relation} AS s
SET {begins} = i.begun
FROM pg_temp.imported_versions AS i
WHERE i.is_continued AND {same_key} AND s.{begins} = %(base)s
