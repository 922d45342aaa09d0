-- Allow parallel plans for queries that call these functions.
ALTER FUNCTION etl.known(timestamptz, text) PARALLEL SAFE;
ALTER FUNCTION etl.looked_at() PARALLEL SAFE;
