-- Rows of a view.
-- Names: columns, view, condition, sorted (an ORDER BY clause or nothing), limited (likewise a LIMIT).
-- Binds: what the condition binds.
SELECT {columns}
FROM {view}
WHERE {condition} {sorted} {limited}
