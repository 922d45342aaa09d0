-- The body of <fact>_as_of(moment): the rows as the warehouse knew them then.
SELECT {columns}
FROM (
    SELECT DISTINCT ON ({key}) *
    FROM {table}
    WHERE recorded_at <= $1
    ORDER BY {key}, recorded_at DESC
) AS latest
WHERE NOT deleted
