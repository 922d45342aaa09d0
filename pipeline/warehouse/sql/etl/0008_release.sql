-- The release of the pipeline that made each version.
ALTER TABLE etl.version ADD COLUMN release text;
COMMENT ON COLUMN etl.version.release IS 'The release of the pipeline; NULL where an earlier release made the version.';
