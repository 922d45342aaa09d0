SELECT
    w.up_to_date_at,
    COALESCE(SUM((t.counts ->> 'added')::bigint), 0) AS added,
    COALESCE(SUM((t.counts ->> 'changed')::bigint + (t.counts ->> 'deleted')::bigint), 0) AS versions
FROM etl.watermark AS w
LEFT JOIN etl.batch AS b ON b.loaded_at BETWEEN %(from)s AND %(to)s
LEFT JOIN LATERAL JSONB_EACH(b.rows) AS t (name, counts) ON TRUE
GROUP BY w.up_to_date_at
