-- A digest of the transactions of a range that are committed, of those that a snapshot sees; by default the
-- present one. It is NULL if the server no longer knows what became of one of them.
-- Binds: lowest, highest (64 bits, inclusive), snapshot (text or NULL).
WITH seen AS (
    SELECT COALESCE(%(snapshot)s::pg_snapshot, pg_current_snapshot()) AS snapshot
),

transactions AS (
    SELECT
        number,
        number::text::xid8 AS id
    FROM generate_series(%(lowest)s::bigint, %(highest)s::bigint) AS number
),

ended AS (
    SELECT
        transactions.number,
        pg_xact_status(transactions.id) AS status
    FROM transactions
    CROSS JOIN seen
    WHERE pg_visible_in_snapshot(transactions.id, seen.snapshot)
),

digest AS (
    SELECT
        bool_and(status IS NOT NULL) AS is_known,
        concat_ws(
            ' ',
            count(*) FILTER (WHERE status = 'committed'),
            sum(hashint8extended(number, 0)) FILTER (WHERE status = 'committed')
        ) AS committed
    FROM ended
)

SELECT
    seen.snapshot::text AS snapshot,
    CASE WHEN digest.is_known THEN digest.committed END AS digest
FROM seen
CROSS JOIN digest
