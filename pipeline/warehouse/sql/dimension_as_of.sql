-- A dimension's rows as of a moment.
-- Names: columns, versions, moment (an expression).
SELECT {columns}
FROM {versions}
WHERE
    valid_from OPERATOR(pg_catalog.<=) {moment} -- noqa: LT01
    AND (valid_to IS NULL OR valid_to OPERATOR(pg_catalog.>) {moment}) -- noqa: LT01
