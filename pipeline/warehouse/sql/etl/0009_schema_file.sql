-- Which schema.sql the tables follow.
CREATE TABLE etl.schema_file (
    schema_name text PRIMARY KEY,
    digest text NOT NULL
);
COMMENT ON TABLE etl.schema_file IS 'The digest of the schema.sql that the tables of a schema follow.';
