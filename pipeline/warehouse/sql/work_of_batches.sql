-- How many rows of each table the batches have read, and how long transforming and loading them took: the
-- seconds of a batch, shared among its tables by their rows.
-- Binds: schema.
WITH counts AS (
    SELECT
        b.batch_id,
        c.key AS table_name,
        (c.value ->> 'read')::bigint AS rows,
        sum((c.value ->> 'read')::bigint) OVER (PARTITION BY b.batch_id) AS all_rows,
        (b.seconds ->> 'transform')::float + (b.seconds ->> 'load')::float AS seconds
    FROM etl.batch AS b
    CROSS JOIN LATERAL jsonb_each(b.rows) AS c
    WHERE b.schema_name = %(schema)s
)

SELECT
    table_name,
    sum(rows)::bigint AS rows,
    COALESCE(sum(rows) FILTER (WHERE seconds IS NOT NULL), 0)::bigint AS timed_rows,
    COALESCE(sum(seconds * rows / all_rows) FILTER (WHERE all_rows > 0), 0)::float AS seconds
FROM counts
GROUP BY table_name
