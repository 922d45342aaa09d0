-- Those values of a reference that the table referred to does not have.
-- Names: columns, arrays (one of texts per column), to_table, same (a condition on d and v).
SELECT {columns}
FROM unnest({arrays}) AS v ({columns})
WHERE NOT EXISTS (SELECT FROM {to_table} AS d WHERE {same})
