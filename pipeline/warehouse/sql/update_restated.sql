-- Give rows the values of the rebuilt row of the same key, where these differ. Values are compared as they
-- are stored, which is quicker than as text and as exact.
-- Names: table, rebuilt, same_key (a condition on t and s), assignments, old (columns of t),
-- new (columns of s).
UPDATE {table} AS t
SET {assignments}
FROM {rebuilt} AS s
WHERE {same_key} AND record_image_ne(row({old}), row({new}))
