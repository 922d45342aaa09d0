-- Create the stage: the table's columns and types without its constraints.
-- Names: stage, columns, table.
DROP TABLE IF EXISTS {stage};

CREATE TEMP TABLE {stage} ON COMMIT DROP AS
SELECT {columns}
FROM {table}
WITH NO DATA
