-- Where the WAL begins that the next run examines for changed blocks.
ALTER TABLE etl.watermark ADD COLUMN wal_marks jsonb;
COMMENT ON COLUMN etl.watermark.wal_marks IS
'Positions in the WAL of the source, of the last run if it found nothing new; NULL if those in the manifest hold.';
