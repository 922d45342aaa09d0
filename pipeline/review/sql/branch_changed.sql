-- Versions that the branch and the live table have, and that differ.
-- Names: columns, table, branch, same_key (a condition on t and s), begins, old (columns of t), new (of s).
SELECT {columns}
FROM {table} AS t
INNER JOIN {branch} AS s ON {same_key} AND t.{begins} = s.{begins}
WHERE row({old}) IS DISTINCT FROM row({new})
