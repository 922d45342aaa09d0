-- The texts of the versions about a row, but those of erased values; and whether another row contains them.
-- Names: relation, texts (columns as texts), is_own (a condition on w), mark.
WITH own AS (
    SELECT DISTINCT t.text
    FROM {relation} AS w
    CROSS JOIN LATERAL unnest(ARRAY[{texts}]) AS t (text)
    WHERE {is_own} AND t.text <> '' AND strpos(t.text, {mark}) = 0
)

SELECT
    own.text,
    own.text IN (
        SELECT o.text
        FROM {relation} AS w
        INNER JOIN own AS o ON strpos(concat_ws(chr(10), {texts}), o.text) > 0
        WHERE {is_own} IS NOT TRUE
    ) AS is_shared
FROM own
