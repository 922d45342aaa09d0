-- Orders, units and amounts of a view by some of its columns. A sum in the reporting currency is NULL if a
-- row has no rate.
-- Names: columns, counted (an expression), amount, converted, view, condition.
-- Binds: what the condition binds.
SELECT
    {columns},
    {counted} AS orders,
    sum(units) AS units,
    sum({amount}) AS amount,
    CASE WHEN bool_and({converted} IS NOT NULL) THEN sum({converted}) END AS reporting
FROM {view}
WHERE {condition}
GROUP BY {columns}
