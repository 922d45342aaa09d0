-- Rows of a view; a limit of NULL is none.
-- Names: columns, view, condition, sorted (columns with their directions), limited.
-- Binds: what the condition binds.
SELECT {columns}
FROM {view}
WHERE {condition}
ORDER BY {sorted}
LIMIT {limited}
