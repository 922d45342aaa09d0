-- How many rows a table had before a batch, which may have ended some of them.
-- Names: relation (of all versions), begins, ends, is_deleted (whether a version marks a deletion).
-- Binds: at.
SELECT count(*)
FROM {relation}
WHERE {begins} < %(at)s AND ({ends} IS NULL OR {ends} >= %(at)s) AND NOT {is_deleted}
