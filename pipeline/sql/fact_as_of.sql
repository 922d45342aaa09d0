-- The body of <fact>_as_of(moment): the rows as the warehouse knew them then.
SELECT {columns}
FROM (
    SELECT DISTINCT ON ({key}) *
    FROM {table}
    WHERE recorded_at OPERATOR(pg_catalog.<=) $1 -- noqa: LT01
    ORDER BY {key}, recorded_at DESC
) AS latest
WHERE NOT deleted
