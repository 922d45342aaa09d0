-- Each schema of the warehouse has its own batches, watermark, models and rejected rows. Existing rows belong
-- to the schema of the settings.
-- Names: schema (a literal).
ALTER TABLE etl.watermark DROP CONSTRAINT watermark_batch_id_fkey, DROP COLUMN singleton;
ALTER TABLE etl.model DROP CONSTRAINT model_batch_id_fkey, DROP CONSTRAINT model_pkey;
ALTER TABLE etl.batch DROP CONSTRAINT batch_previous_batch_id_fkey, DROP CONSTRAINT batch_pkey;
DROP INDEX etl.batch_follows, etl.rejected_open;

ALTER TABLE etl.batch ADD COLUMN schema_name text NOT NULL DEFAULT {schema};
ALTER TABLE etl.watermark ADD COLUMN schema_name text NOT NULL DEFAULT {schema};
ALTER TABLE etl.model ADD COLUMN schema_name text NOT NULL DEFAULT {schema};
ALTER TABLE etl.rejected ADD COLUMN schema_name text NOT NULL DEFAULT {schema};
ALTER TABLE etl.batch ALTER COLUMN schema_name DROP DEFAULT;
ALTER TABLE etl.watermark ALTER COLUMN schema_name DROP DEFAULT;
ALTER TABLE etl.model ALTER COLUMN schema_name DROP DEFAULT;
ALTER TABLE etl.rejected ALTER COLUMN schema_name DROP DEFAULT;

ALTER TABLE etl.batch
ADD PRIMARY KEY (schema_name, batch_id),
ADD FOREIGN KEY (schema_name, previous_batch_id) REFERENCES etl.batch (schema_name, batch_id);
ALTER TABLE etl.watermark
ADD PRIMARY KEY (schema_name),
ADD FOREIGN KEY (schema_name, batch_id) REFERENCES etl.batch (schema_name, batch_id);
ALTER TABLE etl.model
ADD PRIMARY KEY (schema_name, table_name),
ADD FOREIGN KEY (schema_name, batch_id) REFERENCES etl.batch (schema_name, batch_id);

-- Only one batch can follow another in a schema.
CREATE UNIQUE INDEX batch_follows ON etl.batch (schema_name, COALESCE(previous_batch_id, ''));
CREATE UNIQUE INDEX rejected_open ON etl.rejected (schema_name, table_name, key) WHERE NOT resolved;

COMMENT ON COLUMN etl.batch.schema_name IS 'The schema of the warehouse that the batch was loaded into.';
COMMENT ON TABLE etl.watermark IS
'The last batch in each schema of the warehouse, and when the source last had nothing newer.';
