-- Add version columns, the version index and two views to a fact table. Rows that are older than the
-- pipeline count as recorded at -infinity.
-- Names: table, index, begun, ended, key, current, columns, history.
ALTER TABLE {table} ADD COLUMN IF NOT EXISTS recorded_at timestamptz NOT NULL DEFAULT '-infinity';
ALTER TABLE {table} ADD COLUMN IF NOT EXISTS superseded_at timestamptz;
ALTER TABLE {table} ADD COLUMN IF NOT EXISTS deleted boolean NOT NULL DEFAULT false;
ALTER TABLE {table} ADD COLUMN IF NOT EXISTS committed_at timestamptz;
-- Those that the table declares become like these.
UPDATE {table} SET recorded_at = COALESCE(recorded_at, '-infinity'), deleted = COALESCE(deleted, false)
WHERE recorded_at IS NULL OR deleted IS NULL;
ALTER TABLE {table}
ALTER COLUMN recorded_at DROP DEFAULT,
ALTER COLUMN recorded_at SET NOT NULL,
ALTER COLUMN superseded_at DROP DEFAULT,
ALTER COLUMN superseded_at DROP NOT NULL,
ALTER COLUMN deleted SET DEFAULT false,
ALTER COLUMN deleted SET NOT NULL,
ALTER COLUMN committed_at DROP DEFAULT,
ALTER COLUMN committed_at DROP NOT NULL;

CREATE UNIQUE INDEX IF NOT EXISTS {index} ON {table} ({key}, recorded_at DESC);

-- These find what has changed since a moment: the new versions lie together, and most versions have no end.
CREATE INDEX IF NOT EXISTS {begun} ON {table} USING brin (recorded_at) WITH (pages_per_range = 32);
CREATE INDEX IF NOT EXISTS {ended} ON {table} (superseded_at) WHERE superseded_at IS NOT NULL;

CREATE OR REPLACE VIEW {current} AS
SELECT {columns}
FROM {table}
WHERE superseded_at IS NULL AND NOT deleted;

CREATE OR REPLACE VIEW {history} AS
SELECT
    recorded_at AS valid_from,
    superseded_at AS valid_to,
    deleted,
    {columns}
FROM {table};
