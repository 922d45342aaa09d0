-- The tables that can be read by their last change.
SELECT table_name
FROM information_schema.columns
WHERE table_schema = 'public' AND column_name = 'last_updated'
ORDER BY table_name;
