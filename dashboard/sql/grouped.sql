-- Orders, units and amounts of a view by some of its columns. A sum in the reporting currency is NULL if a
-- row has no rate.
-- Names: columns, orders (an expression), amount, reporting, view, condition. Binds: what the condition binds.
SELECT
    {columns},
    {orders} AS orders,
    sum(units) AS units,
    sum({amount}) AS amount,
    CASE WHEN bool_and({reporting} IS NOT NULL) THEN sum({reporting}) END AS reporting
FROM {view}
WHERE {condition}
GROUP BY {columns}
