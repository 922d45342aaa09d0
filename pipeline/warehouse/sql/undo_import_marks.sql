-- Remove the marks that an import has made where a fact's row was away. Those of rows that the pipeline did
-- not load, and that the first batch lacks, stay.
-- Names: relation (the table of versions), begins, same_key_in_table (a condition on t and s).
-- Binds: base (the time of the first batch).
DELETE FROM {relation} AS t
WHERE
    t.deleted
    AND t.{begins} <= %(base)s
    AND NOT EXISTS (SELECT FROM {relation} AS s WHERE {same_key_in_table} AND s.{begins} = '-infinity')
