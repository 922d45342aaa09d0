-- Stage the keys of rows to erase, with their old and new values. Old ones that are not known are NULL.
-- No names, no values.
CREATE TEMP TABLE erased ON COMMIT DROP AS
SELECT
    jsonb_object_agg(name, pg_temp.readable(text)) FILTER (WHERE part = 'key') AS key,
    jsonb_object_agg(name, pg_temp.readable(text)) FILTER (WHERE part = 'escaped') AS escaped,
    jsonb_object_agg(name, pg_temp.readable(text)) FILTER (WHERE part = 'old') AS old,
    jsonb_object_agg(name, pg_temp.readable(text)) FILTER (WHERE part = 'new') AS new
FROM pg_temp.erased_texts
GROUP BY place;
ANALYZE pg_temp.erased
