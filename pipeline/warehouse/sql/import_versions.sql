-- Make versions of the imported rows. Successive equal ones are one. The last one of a key ends with the
-- first batch; if that batch has the same row, its version begins earlier instead.
-- Names: key (columns of the row i), imported_shown (the compared columns of i, as a row), relation (the
-- table of versions), live_shown (the compared columns of s), begins, same_key (a condition on i and s),
-- same_key_later (a condition on i and f).
-- Binds: base (the time of the first batch).
CREATE TEMP TABLE imported_versions ON COMMIT DROP AS
WITH spans AS (
    SELECT
        i.valid_from AS begun,
        i.content,
        {imported_shown} AS shown,
        COALESCE(i.valid_to, lead(i.valid_from) OVER versions, %(base)s) AS ended,
        lead(i.valid_from) OVER versions AS next_begun
    FROM pg_temp.imported AS i
    WINDOW versions AS (PARTITION BY {key} ORDER BY i.valid_from)
),

compared AS (
    SELECT
        i.*,
        COALESCE(
            i.shown IS NOT DISTINCT FROM lag(i.shown) OVER versions
            AND i.begun = lag(i.ended) OVER versions,
            false
        ) AS is_same
    FROM spans AS i
    WINDOW versions AS (PARTITION BY {key} ORDER BY i.begun)
),

numbered AS (
    SELECT
        i.*,
        count(*) FILTER (WHERE NOT i.is_same) OVER (PARTITION BY {key} ORDER BY i.begun) AS number
    FROM compared AS i
),

merged AS (
    SELECT
        i.content,
        i.shown,
        i.ended,
        i.next_begun,
        min(i.begun) OVER same AS begun,
        row_number() OVER (same ORDER BY i.begun DESC) AS place
    FROM numbered AS i
    WINDOW same AS (PARTITION BY {key}, i.number)
)

SELECT
    i.content,
    i.begun,
    i.ended,
    COALESCE(i.next_begun, later.begun) AS next_begun,
    COALESCE(i.shown IS NOT DISTINCT FROM {live_shown} AND s.{begins} = %(base)s, false) AS is_continued,
    COALESCE(i.next_begun <> i.ended, true) AND s.{begins} IS NULL AS is_deleted
FROM merged AS i
LEFT JOIN {relation} AS s ON {same_key} AND s.{begins} = %(base)s AND i.ended = %(base)s
LEFT JOIN LATERAL (
    SELECT min(f.{begins}) AS begun
    FROM {relation} AS f
    WHERE {same_key_later}
) AS later ON i.next_begun IS NULL
WHERE i.place = 1
