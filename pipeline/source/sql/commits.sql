-- How many transactions of a range are committed, of those that a snapshot sees; by default the present one.
-- Binds: lowest, highest (64 bits, inclusive), snapshot (text or NULL).
WITH seen AS (
    SELECT COALESCE(%(snapshot)s::pg_snapshot, pg_current_snapshot()) AS snapshot
),

transactions AS (
    SELECT number::text::xid8 AS id
    FROM generate_series(%(lowest)s::bigint, %(highest)s::bigint) AS number
)

SELECT
    seen.snapshot::text AS snapshot,
    (
        SELECT count(*)
        FROM transactions
        WHERE
            pg_visible_in_snapshot(transactions.id, seen.snapshot)
            AND pg_xact_status(transactions.id) = 'committed'
    ) AS committed
FROM seen
