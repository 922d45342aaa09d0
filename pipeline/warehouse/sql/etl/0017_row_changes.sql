-- Row counts are trusted without counting while Postgres' own counter of changed rows stands still.
ALTER TABLE etl.model ADD COLUMN row_changes bigint;
COMMENT ON COLUMN etl.model.row_changes IS
'Rows ever inserted and deleted, as pg_stat_all_tables counts them, with row_count; NULL: row_count is checked.';
