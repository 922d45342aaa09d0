-- The exported snapshot and the identity of the source. A promotion changes the timeline; a standby reports
-- the timeline that it follows. `wal` is the position that is written or, on a standby, replayed.
-- `wal_inserted` is behind the changes of every transaction that the snapshot shows, and `next_xid` is read
-- after it; both are NULL without WAL summaries (Postgres 17).
WITH position AS MATERIALIZED (
    SELECT
        CASE
            WHEN current_setting('summarize_wal', true) = 'on' AND NOT pg_is_in_recovery()
                THEN pg_current_wal_insert_lsn()
        END AS inserted
)

SELECT
    pg_export_snapshot() AS name,
    pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS xmin,
    pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS xmax,
    now() AS taken_at,
    (SELECT system_identifier::text FROM pg_control_system()) AS system,
    CASE
        WHEN pg_is_in_recovery() THEN (SELECT timeline_id FROM pg_control_checkpoint())
        ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::integer
    END AS timeline,
    pg_wal_lsn_diff(
        CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, '0/0'
    )::bigint AS wal,
    pg_wal_lsn_diff(position.inserted, '0/0')::bigint AS wal_inserted,
    -- The first age() of a transaction reads the next id, so its argument depends on the position.
    pg_snapshot_xmax(pg_current_snapshot())::text::bigint
    + age(
        CASE WHEN position.inserted IS NOT NULL THEN pg_snapshot_xmax(pg_current_snapshot())::xid END
    ) AS next_xid,
    -- Recovery from a crash resets the statistics.
    (SELECT stats_reset FROM pg_stat_bgwriter) AS statistics_since,
    pg_is_in_recovery() AS standby,
    -- A standby cannot know whether its primary keeps commit times.
    current_setting('track_commit_timestamp')::boolean AND NOT pg_is_in_recovery() AS keeps_commit_times,
    pg_postmaster_start_time() AS started_at,
    current_database() AS database,
    (SELECT oid::bigint FROM pg_database WHERE datname = current_database()) AS database_oid
FROM position
