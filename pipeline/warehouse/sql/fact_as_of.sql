-- A fact's rows as of a moment.
-- Names: columns, table, moment (an expression).
SELECT {columns}
FROM {table}
WHERE
    recorded_at OPERATOR(pg_catalog.<=) {moment} -- noqa: LT01
    AND (superseded_at IS NULL OR superseded_at OPERATOR(pg_catalog.>) {moment}) -- noqa: LT01
    AND NOT deleted
