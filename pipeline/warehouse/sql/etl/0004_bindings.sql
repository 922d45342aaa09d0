-- Record which table holds a model's rows, to detect a replaced, truncated or restored one.
ALTER TABLE etl.model
ADD COLUMN table_oid oid,
ADD COLUMN filenode oid,
ADD COLUMN etl_oid oid,
ADD COLUMN row_count bigint,
ADD COLUMN version_count bigint;
COMMENT ON COLUMN etl.model.batch_id IS 'The last batch that was loaded into the table.';
COMMENT ON COLUMN etl.model.table_oid IS 'The table''s oid in pg_class.';
COMMENT ON COLUMN etl.model.filenode IS 'The table''s file: TRUNCATE and VACUUM FULL change it.';
COMMENT ON COLUMN etl.model.etl_oid IS 'The oid of etl.model itself: it differs after a restore.';
COMMENT ON COLUMN etl.model.row_count IS 'How many rows the table has.';
COMMENT ON COLUMN etl.model.version_count IS 'How many versions a dimension''s history has.';

-- Before, batch_id was the last batch that the model was computed for.
UPDATE etl.model AS m
SET batch_id = w.batch_id
FROM etl.watermark AS w
WHERE m.schema_name = w.schema_name;
