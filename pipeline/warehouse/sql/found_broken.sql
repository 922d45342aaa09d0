-- Staged rows that refer to something the warehouse does not have, or break a rule of the table.
SELECT
    s.ctid AS place,
    f.reason,
    f.retried,
    {key_json} AS key,
    {row_json} AS "row"
FROM {stage} AS s
CROSS JOIN
    LATERAL (
        SELECT
            array_to_string(ARRAY[{reasons}]::text[], '; ') AS reason,
            true AS retried
    ) AS f
WHERE f.reason <> ''
