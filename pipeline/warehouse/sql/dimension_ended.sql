-- Find a dimension's versions that have ended: most have no end.
-- Names: ended, versions.
CREATE INDEX IF NOT EXISTS {ended} ON {versions} (valid_to) WHERE valid_to IS NOT NULL
