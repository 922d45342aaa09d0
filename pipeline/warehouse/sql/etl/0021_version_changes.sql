-- The counts of dimensions' versions are trusted like those of rows.
ALTER TABLE etl.model ADD COLUMN version_filenode oid, ADD COLUMN version_changes bigint;
COMMENT ON COLUMN etl.model.version_filenode IS 'The file of the dimension''s version table: TRUNCATE and VACUUM FULL change it.';
COMMENT ON COLUMN etl.model.version_changes IS
'Versions ever inserted and deleted, as pg_stat_all_tables counts them, with version_count; NULL: version_count is checked.';
