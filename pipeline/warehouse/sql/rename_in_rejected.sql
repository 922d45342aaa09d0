-- Rename a column in a table's rejected rows, which are retried with their values.
-- Binds: schema, table, old, new.
UPDATE etl.rejected
SET
    key = CASE
        WHEN key ? %(old)s::text
            THEN (key - %(old)s::text) || jsonb_build_object(%(new)s::text, key -> %(old)s::text)
        ELSE key
    END,
    "row" = CASE
        WHEN "row" ? %(old)s::text
            THEN ("row" - %(old)s::text) || jsonb_build_object(%(new)s::text, "row" -> %(old)s::text)
        ELSE "row"
    END
WHERE schema_name = %(schema)s AND table_name = %(table)s
