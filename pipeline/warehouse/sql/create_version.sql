-- Create the table of the versions of the schema etl.
CREATE TABLE etl.version (
    version integer PRIMARY KEY,
    upgraded_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE etl.version IS 'The versions that the schema etl has been upgraded to.'
