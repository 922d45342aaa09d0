-- Let rebuilt versions that begin at the base batch begin when the live versions that were present then do.
-- Names: table, rebuilt, same_key (a condition on t and s), begins, ends, is_mark (whether deleted marks a
-- version that a deletion added, as in a fact). Binds: base.
UPDATE {rebuilt} AS s
SET {begins} = t.{begins}
FROM {table} AS t
WHERE
    {same_key}
    AND s.{begins} = %(base)s
    AND t.{begins} < %(base)s
    AND COALESCE(t.{ends} > %(base)s, true)
    AND NOT ({is_mark} AND t.deleted)
