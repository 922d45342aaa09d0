-- One text for the rows of some pages, one line per row, so that a client handles few messages.
-- Postgres prints a record as CSV in brackets, with backslashes doubled. The NULLs at both ends put the
-- brackets into columns of their own.
-- Filled in: table, columns, changed (the predicate of changed rows), first_page, end_page, pages.
SELECT message.lines
FROM generate_series({first_page}::bigint, {end_page}::bigint - 1, {pages}) AS pages (first_page)
CROSS JOIN
    LATERAL (
        SELECT string_agg(row(NULL, {columns}, NULL)::text, E'\n') AS lines
        FROM {table} AS read
        WHERE
            ctid >= format('(%s,0)', pages.first_page)::tid
            AND ctid < format('(%s,0)', least(pages.first_page + {pages}, {end_page}))::tid
            AND {changed}
    ) AS message
WHERE message.lines IS NOT NULL
