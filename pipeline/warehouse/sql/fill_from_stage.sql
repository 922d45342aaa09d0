-- Copy the staged rows into the empty table.
-- Names: table, columns, stage.
INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE
SELECT {columns}
FROM {stage}
