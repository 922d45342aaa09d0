-- Count the rows that lack a row that they refer to, in one scan for all references.
-- Names: joined (the table as s, joined with all that it refers to), is_missing.
SELECT count(*) AS rows
FROM {joined}
WHERE {is_missing}
