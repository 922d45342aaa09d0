-- How many rows of a table have none that is equal in another one.
SELECT count(*)
FROM (
    SELECT row({columns})::text FROM {table}
    EXCEPT ALL
    SELECT row({columns})::text FROM {other}
) AS lacking
