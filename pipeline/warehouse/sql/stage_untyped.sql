-- Rows of a table as bytes of text in UTF-8: whatever they are, Postgres takes them.
CREATE TEMP TABLE {untyped} ON COMMIT DROP AS
SELECT {bytes}
WHERE false
