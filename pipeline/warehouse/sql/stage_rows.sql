-- Rows of a table on their way in, with its types and without its constraints.
DROP TABLE IF EXISTS {stage};

CREATE TEMP TABLE {stage} ON COMMIT DROP AS
SELECT {columns}
FROM {table}
WITH NO DATA
