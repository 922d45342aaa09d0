-- What the source's WAL summaries (Postgres 17 and later) tell of the WAL between two positions.
-- `gapless`: no summary is missing between two others or before the first one. `complete`: nor at the end.
-- `changed`: which of the files have changed blocks, with 0 for all files of the database.
-- Binds: start, until (WAL positions), timeline, xmax, filenodes.
WITH span AS MATERIALIZED (
    SELECT
        '0/0'::pg_lsn + %(start)s::numeric AS start_lsn,
        -- After the redo position of a checkpoint only transactions write that were active then, or began
        -- later. If the snapshot shows none of these, that WAL is not needed.
        CASE
            WHEN timeline_id = %(timeline)s AND age(oldest_active_xid) <= age(%(xmax)s::text::xid8::xid)
                THEN least(redo_lsn, '0/0'::pg_lsn + %(until)s::numeric)
            ELSE '0/0'::pg_lsn + %(until)s::numeric
        END AS end_lsn
    FROM pg_control_checkpoint()
),

summaries AS MATERIALIZED (
    SELECT
        available.tli,
        available.start_lsn,
        available.end_lsn,
        max(available.end_lsn) OVER (
            ORDER BY available.start_lsn, available.end_lsn
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS reached
    FROM pg_available_wal_summaries() AS available
    CROSS JOIN span
    WHERE
        available.tli = %(timeline)s
        AND available.end_lsn > span.start_lsn
        AND available.start_lsn < span.end_lsn
),

coverage AS MATERIALIZED (
    SELECT
        COALESCE(
            min(summaries.start_lsn) <= span.start_lsn
            AND bool_and(summaries.reached IS NULL OR summaries.start_lsn <= summaries.reached), true
        ) AS gapless,
        span.start_lsn >= span.end_lsn
        OR COALESCE(max(summaries.end_lsn) >= span.end_lsn, false) AS reaches_end
    FROM span
    LEFT JOIN summaries ON true
    GROUP BY span.start_lsn, span.end_lsn
),

changed AS MATERIALIZED (
    SELECT DISTINCT block.relfilenode::bigint AS filenode
    FROM coverage
    CROSS JOIN summaries
    CROSS JOIN LATERAL pg_wal_summary_contents(summaries.tli, summaries.start_lsn, summaries.end_lsn) AS block
    WHERE
        coverage.gapless
        AND block.reldatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND block.relfilenode = ANY(%(filenodes)s::bigint[]::oid[] || 0::oid)
)

SELECT
    gapless,
    gapless AND reaches_end AS complete,
    pg_has_role('pg_checkpoint', 'USAGE') AS may_checkpoint,
    (SELECT COALESCE(array_agg(filenode), '{}') FROM changed) AS changed
FROM coverage
