-- Who rejected a row: a transform names in each batch all rows that it rejects, the load only those of the
-- batch.
ALTER TABLE etl.rejected ADD COLUMN by_load boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN etl.rejected.by_load IS 'Whether Postgres refused the row, or a reference was missing, rather than the transform.';
UPDATE etl.rejected SET by_load = waits WHERE waits;
