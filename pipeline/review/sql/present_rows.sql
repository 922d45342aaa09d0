-- The present rows of a table, and whether the pipeline has loaded them.
-- Names: columns, history.
SELECT
    {columns},
    valid_from > '-infinity'
FROM {history}
WHERE valid_to IS NULL AND NOT deleted
