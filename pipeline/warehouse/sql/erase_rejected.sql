-- Replace personal values in rejected rows of some keys. A list of rows of one key is replaced as a whole.
-- Binds: schema, table_name.
UPDATE etl.rejected AS r
SET "row" = CASE jsonb_typeof(r."row") WHEN 'object' THEN r."row" || e.new ELSE e.new END
FROM pg_temp.erased AS e
WHERE r.schema_name = %(schema)s AND r.table_name = %(table_name)s AND r.key IN (e.key, e.escaped)
    AND e.old IS DISTINCT FROM e.new
