-- The number of rows of a table, and a digest of some columns that does not depend on their order.
-- Names: columns, table.
SELECT
    count(*),
    COALESCE(sum(hashtextextended(row({columns})::text, 0)), 0)
FROM {table}
