-- The rows of some pages at a time as one text, a row a line: what a client does for each message is
-- done once for all of them. Each row is printed as Postgres prints a record: as CSV in brackets, but
-- with backslashes doubled too. The NULLs leave the brackets to columns of their own.
SELECT pack.lines
FROM generate_series({first_page}::bigint, {end_page}::bigint - 1, {pages}) AS pages (first_page)
CROSS JOIN
    LATERAL (
        SELECT string_agg(row(NULL, {columns}, NULL)::text, E'\n') AS lines
        FROM {table} AS read
        WHERE
            ctid >= format('(%s,0)', pages.first_page)::tid
            AND ctid < format('(%s,0)', least(pages.first_page + {pages}, {end_page}))::tid
            AND {news}
    ) AS pack
WHERE pack.lines IS NOT NULL
