-- Give a dimension's rows the untracked values of their latest versions.
-- Names: table, assignments (of columns of v), versions, same_key_as_version, old (columns of t), new (those
-- of v), same_key.
UPDATE {table} AS t
SET {assignments}
FROM {versions} AS v
WHERE
    {same_key_as_version}
    AND v.valid_from = (SELECT max(s.valid_from) FROM {versions} AS s WHERE {same_key})
    AND record_image_ne(row({old}), row({new}))
