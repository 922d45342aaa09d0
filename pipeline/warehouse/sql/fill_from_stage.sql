-- Staged rows go into the empty table.
INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE
SELECT {columns}
FROM {stage}
