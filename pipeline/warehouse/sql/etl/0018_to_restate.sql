-- A killed run leaves a mark on tables whose earlier versions are not those of their models.
ALTER TABLE etl.model ADD COLUMN to_restate boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN etl.model.to_restate IS
'Whether a batch was loaded by a model that was changed, new or back, and the earlier batches are still to be computed.';
