-- How many rows each table of the source had at a batch's moment.
ALTER TABLE etl.batch ADD COLUMN source_rows jsonb;
COMMENT ON COLUMN etl.batch.source_rows IS
'How many rows each table of the source had, by which the next batch detects deleted ones; NULL for earlier releases.';
