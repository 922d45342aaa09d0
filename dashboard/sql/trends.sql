-- The designs that rise most and those that fade most.
-- Names: trends (a view), condition, limited (rows of each). Binds: what the condition binds.
WITH found AS MATERIALIZED (
    SELECT *
    FROM {trends}
    WHERE {condition}
)

(
    SELECT *
    FROM found
    WHERE change > 0
    ORDER BY change DESC
    LIMIT {limited}
)
UNION ALL
(
    SELECT *
    FROM found
    WHERE change < 0
    ORDER BY change ASC
    LIMIT {limited}
)
