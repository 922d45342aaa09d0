-- Those staged rows that are new, or differ from their row in the table.
CREATE TEMP TABLE changing ON COMMIT DROP AS
SELECT s.ctid AS place
FROM {stage} AS s
LEFT JOIN {table} AS t ON {same_key}
WHERE t.tableoid IS NULL OR {differs}
