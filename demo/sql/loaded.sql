-- What the batches of a period changed, and what the warehouse is up to date with.
SELECT
    w.up_to_date_at,
    COALESCE(sum((t.counts ->> 'added')::bigint), 0) AS added,
    COALESCE(sum((t.counts ->> 'changed')::bigint + (t.counts ->> 'deleted')::bigint), 0) AS versions
FROM etl.watermark AS w
LEFT JOIN etl.batch AS b ON b.loaded_at BETWEEN %(from)s AND %(to)s
LEFT JOIN LATERAL jsonb_each(b.rows) AS t (name, counts) ON TRUE
GROUP BY w.up_to_date_at
