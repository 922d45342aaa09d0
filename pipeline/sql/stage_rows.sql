-- This batch's rows of a table, with its types and without its constraints.
CREATE TEMP TABLE {stage} ON COMMIT DROP AS
SELECT {columns}
FROM {table}
WITH NO DATA
