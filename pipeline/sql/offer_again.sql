-- Rows that wait for a reference come once more, unless this batch has a newer one.
INSERT INTO {stage} ({columns})
SELECT {offered_columns}
FROM etl.rejected AS r
CROSS JOIN LATERAL jsonb_populate_record(NULL::{table}, r."row") AS o
WHERE
    r.table_name = %(table_name)s
    AND r.waits
    AND NOT r.resolved
    AND r.key <> ALL(SELECT {key_json} FROM {stage} AS s)
    AND r.key <> ALL(SELECT key FROM rows_that_do_not_fit)
