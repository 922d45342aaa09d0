-- Rows whose personal values were erased.
CREATE TABLE etl.forgotten (
    schema_name text NOT NULL,
    table_name text NOT NULL,
    salt text NOT NULL,
    key_hash text NOT NULL,
    forgotten_at timestamptz NOT NULL,
    certificate jsonb,
    PRIMARY KEY (schema_name, key_hash)
);
COMMENT ON TABLE etl.forgotten IS 'Rows of the source whose personal values were erased, by salted hashes of their keys.';
COMMENT ON COLUMN etl.forgotten.certificate IS 'Where their values were last searched for; NULL before that.';
