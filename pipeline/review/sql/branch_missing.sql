-- Versions that only the live table has, other than those that ended before the branch's first batch and
-- those that the pipeline did not load.
-- Names: columns, table, branch, same_key (a condition on t and s), begins, ends, base.
SELECT {columns}
FROM {table} AS t
WHERE
    t.{begins} > '-infinity'
    AND COALESCE(t.{ends} > {base}, true)
    AND NOT (t.deleted AND t.{begins} <= {base})
    AND NOT EXISTS (SELECT FROM {branch} AS s WHERE {same_key} AND t.{begins} = s.{begins})
