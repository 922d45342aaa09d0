-- The marts of each schema of the warehouse: views and functions for readers.
CREATE TABLE etl.mart (
    schema_name text NOT NULL,
    mart_name text NOT NULL,
    content text NOT NULL,
    digest text NOT NULL,
    PRIMARY KEY (schema_name, mart_name)
);
COMMENT ON TABLE etl.mart IS 'The marts that the pipeline has made in the schema for readers.';
COMMENT ON COLUMN etl.mart.content IS 'The text of its file.';
COMMENT ON COLUMN etl.mart.digest IS 'A digest of all marts and of the tables that they read; if it differs, marts are made again.';
