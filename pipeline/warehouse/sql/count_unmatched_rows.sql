-- How many rows of a table have no equal row in another one.
-- Names: columns, table, other.
SELECT count(*)
FROM (
    SELECT row({columns})::text FROM {table}
    EXCEPT ALL
    SELECT row({columns})::text FROM {other}
) AS lacking
