-- How many rows a table has, and a digest of some of their columns that no order changes.
SELECT
    count(*),
    COALESCE(sum(hashtextextended(row({columns})::text, 0)), 0)
FROM {table}
