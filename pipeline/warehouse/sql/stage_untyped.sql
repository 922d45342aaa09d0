-- Create a stage of bytea columns, which take any value's text in UTF-8.
-- Names: untyped, bytes (a NULL of type bytea per column).
CREATE TEMP TABLE {untyped} ON COMMIT DROP AS
SELECT {bytes}
WHERE false
