-- Note the staged rows that are new or differ from their row in the table.
-- Names: stage, table, same_key, differs.
CREATE TEMP TABLE changing ON COMMIT DROP AS
SELECT s.ctid AS place
FROM {stage} AS s
LEFT JOIN {table} AS t ON {same_key}
WHERE t.tableoid IS NULL OR {differs}
