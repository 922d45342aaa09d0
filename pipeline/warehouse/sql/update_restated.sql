-- Give rows the values of the rebuilt row of the same key, where these differ.
-- Names: table, rebuilt, same_key (a condition on t and s), assignments, old (columns of t),
-- new (columns of s).
UPDATE {table} AS t
SET {assignments}
FROM {rebuilt} AS s
WHERE {same_key} AND row({old})::text <> row({new})::text
