-- The view of all versions of a dimension.
-- Names: history, shown, versions.
CREATE OR REPLACE VIEW {history} AS
SELECT {shown}
FROM {versions}
