-- What the tables follow and were computed with, so that a plan can show what has changed since.
ALTER TABLE etl.schema_file ADD COLUMN content text;
COMMENT ON TABLE etl.schema_file IS 'The schema.sql that the tables of a schema follow.';
COMMENT ON COLUMN etl.schema_file.content IS 'Its text; NULL if an earlier release recorded it.';

ALTER TABLE etl.model ADD COLUMN model_sql text, ADD COLUMN frozen_at timestamptz;
COMMENT ON COLUMN etl.model.model_sql IS 'The text of the model; NULL if an earlier release computed the table.';
COMMENT ON COLUMN etl.model.frozen_at IS
'When a run first found no model for the table, which stays as it is; NULL while it has one.';

ALTER TABLE etl.batch ADD COLUMN seconds jsonb;
COMMENT ON COLUMN etl.batch.seconds IS 'How long each step of the run took; NULL if that is not known.';
