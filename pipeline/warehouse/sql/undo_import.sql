-- Remove imported versions that end by the first batch. Rows that the pipeline did not load, which are valid
-- from -infinity, stay.
-- Names: relation (the table of versions), begins, ends. Binds: base (the time of the first batch).
DELETE FROM {relation}
WHERE {begins} > '-infinity' AND {begins} < %(base)s AND {ends} <= %(base)s
