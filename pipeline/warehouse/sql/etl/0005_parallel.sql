-- Postgres runs a query by several processes only where all of its functions allow that.
ALTER FUNCTION etl.known(timestamptz, text) PARALLEL SAFE;
ALTER FUNCTION etl.looked_at() PARALLEL SAFE;
