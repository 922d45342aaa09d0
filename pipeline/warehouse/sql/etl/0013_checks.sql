-- The checks that warned, by batch.
ALTER TABLE etl.batch ADD COLUMN checks jsonb NOT NULL DEFAULT '[]';
COMMENT ON COLUMN etl.batch.checks IS 'The checks that warned: name, meaning, rows, and an error if one did not run.';
