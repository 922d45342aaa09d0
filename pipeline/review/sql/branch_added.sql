-- Versions that only the branch has.
-- Names: columns, table, branch, same_key (a condition on t and s), begins.
SELECT {columns}
FROM {branch} AS s
WHERE NOT EXISTS (SELECT FROM {table} AS t WHERE {same_key} AND t.{begins} = s.{begins})
