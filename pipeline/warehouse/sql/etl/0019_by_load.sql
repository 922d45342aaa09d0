-- Who rejected a row: a transform names in each batch all rows that it rejects, the load only those of the
-- batch. An UPDATE would need a replica identity where a publication sends the table.
ALTER TABLE etl.rejected ADD COLUMN by_load boolean;
ALTER TABLE etl.rejected ALTER COLUMN by_load TYPE boolean USING waits;
ALTER TABLE etl.rejected ALTER COLUMN by_load SET NOT NULL, ALTER COLUMN by_load SET DEFAULT false;
COMMENT ON COLUMN etl.rejected.by_load IS 'Whether Postgres refused the row, or a reference was missing, rather than the transform.';
