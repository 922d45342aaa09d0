-- The first imported row that cannot be a version, with the reason.
-- Names: key (columns of the imported row i), lacks_key (a condition on i).
-- Binds: base (the time of the first batch).
WITH compared AS (
    SELECT
        i.line,
        i.valid_from,
        i.valid_to,
        {lacks_key} AS has_null,
        lag(i.valid_from) OVER versions AS previous_from,
        lag(i.valid_to) OVER versions AS previous_to
    FROM pg_temp.imported AS i
    WINDOW versions AS (PARTITION BY {key} ORDER BY i.valid_from, i.line)
),

judged AS (
    SELECT
        line,
        CASE
            WHEN has_null THEN 'the key or valid_from is empty'
            WHEN valid_from < '0001-01-01' THEN 'valid_from is before the year 1'
            WHEN valid_from >= %(base)s THEN 'valid_from is not before the first batch'
            WHEN valid_to > %(base)s THEN 'valid_to is after the first batch'
            WHEN valid_to <= valid_from THEN 'valid_to is not after valid_from'
            WHEN valid_from = previous_from THEN 'another row has the same key and valid_from'
            WHEN valid_from < previous_to THEN 'the version before it ends after valid_from'
        END AS reason
    FROM compared
)

SELECT
    line,
    reason
FROM judged
WHERE reason IS NOT NULL
ORDER BY line
LIMIT 1
