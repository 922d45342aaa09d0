-- Which table holds a dimension's versions, to detect one that was replaced alone.
ALTER TABLE etl.model ADD COLUMN version_oid oid;
COMMENT ON COLUMN etl.model.version_oid IS 'The oid of the dimension''s version table; NULL until it is bound.';
