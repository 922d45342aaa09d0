-- The rows that a batch has added or changed, for checks.
-- Names: rows, columns, versions (the table of versions), begins (its column), at, is_loaded (whether the
-- batch has any).
CREATE TABLE {rows} AS
SELECT {columns}
FROM {versions}
WHERE {is_loaded} AND {begins} = {at} AND NOT deleted
