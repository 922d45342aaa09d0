-- The newest amendments; and, in rows of their own, how many values and rows were amended and how many of the
-- values silently: of each member of staff's orders, and of all (is_total). Amendments are found only once.
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

counted AS (
    SELECT
        staff_name AS counted_staff,
        grouping(staff_name) = 1 AS is_total,
        count(*) AS changes,
        count(DISTINCT concat(table_name, ' ', key)) AS changed_rows, -- noqa: CP03
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
