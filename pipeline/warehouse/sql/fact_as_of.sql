-- A fact's rows as the warehouse knew them at a moment.
SELECT {columns}
FROM {table}
WHERE
    recorded_at OPERATOR(pg_catalog.<=) {moment} -- noqa: LT01
    AND (superseded_at IS NULL OR superseded_at OPERATOR(pg_catalog.>) {moment}) -- noqa: LT01
    AND NOT deleted
