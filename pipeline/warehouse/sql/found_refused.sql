-- Rows that Postgres refused one by one.
SELECT
    s.ctid AS place,
    f.reason,
    f.retried,
    {key_json} AS key,
    {row_json} AS "row"
FROM pg_temp.refused AS f
INNER JOIN {stage} AS s ON f.place = s.ctid
