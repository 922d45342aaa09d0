-- The pipeline's own state. It is kept in the warehouse, so that it commits with the data.
CREATE TABLE IF NOT EXISTS etl.batch (
    batch_id text PRIMARY KEY,
    previous_batch_id text REFERENCES etl.batch (batch_id),
    snapshot_at timestamptz NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    manifest text NOT NULL,
    reconcile boolean NOT NULL,
    rows jsonb NOT NULL
);
COMMENT ON TABLE etl.batch IS 'One row per batch in the warehouse; rows: counts by table.';

-- Only one batch can follow another.
CREATE UNIQUE INDEX IF NOT EXISTS batch_follows ON etl.batch (COALESCE(previous_batch_id, ''));

CREATE TABLE IF NOT EXISTS etl.watermark (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    batch_id text NOT NULL REFERENCES etl.batch (batch_id),
    manifest text NOT NULL,
    snapshot_at timestamptz NOT NULL,
    source_xmin bigint NOT NULL,
    up_to_date_at timestamptz NOT NULL
);
COMMENT ON TABLE etl.watermark IS 'The last batch in the warehouse, and when the source last had nothing newer.';

CREATE TABLE IF NOT EXISTS etl.model (
    table_name text PRIMARY KEY,
    fingerprint text NOT NULL,
    batch_id text NOT NULL REFERENCES etl.batch (batch_id),
    result jsonb
);
ALTER TABLE etl.model ADD COLUMN IF NOT EXISTS result jsonb;
COMMENT ON TABLE etl.model IS 'The model that each table of the warehouse was computed with.';

CREATE TABLE IF NOT EXISTS etl.rejected (
    table_name text NOT NULL,
    key jsonb NOT NULL,
    reason text NOT NULL,
    "row" jsonb NOT NULL,
    waits boolean NOT NULL,
    first_batch text NOT NULL,
    last_batch text NOT NULL,
    resolved boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE etl.rejected IS 'Rejected rows, with the reason and all values.';
COMMENT ON COLUMN etl.rejected.waits IS 'Whether the row is retried with every batch, with the values that it had.';

CREATE UNIQUE INDEX IF NOT EXISTS rejected_open ON etl.rejected (table_name, key) WHERE NOT resolved;
