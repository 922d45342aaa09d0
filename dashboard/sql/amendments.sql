-- The newest amendments; and, in rows of their own, how many values were amended and how many of them
-- silently: of each member of staff's orders, and of all (is_total); and how many rows. Amendments are found
-- only once.
-- Names: amendments (a query), sorted (columns with their directions), limited.
-- Binds: what the query binds.
WITH amended AS MATERIALIZED (
    SELECT *
    FROM ({amendments}) AS selected
),

newest AS (
    SELECT *
    FROM amended
    ORDER BY {sorted}
    LIMIT {limited}
),

changed_rows AS (
    SELECT DISTINCT
        table_name,
        key
    FROM amended
),

counted AS (
    SELECT
        staff_name AS counted_staff,
        grouping(staff_name) = 1 AS is_total,
        count(*) AS changes,
        (SELECT count(*) FROM changed_rows) AS changed_rows,
        count(*) FILTER (WHERE left_last_updated) AS silent
    FROM amended
    GROUP BY GROUPING SETS ((staff_name), ())
)

SELECT
    newest.*,
    counted.*
FROM newest
FULL JOIN counted ON false
ORDER BY {sorted}
