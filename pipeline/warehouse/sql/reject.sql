-- Rows that were found leave the stage and are recorded.
WITH bad AS MATERIALIZED (
    SELECT found.*
    FROM ({found}) AS found
),

recorded AS (
    INSERT INTO etl.rejected AS r (
        schema_name, table_name, key, reason, "row", waits, first_batch, last_batch
    )
    SELECT DISTINCT ON (key)
        %(schema)s, %(table_name)s, key, reason, "row", retried, %(batch)s, %(batch)s
    FROM bad
    ORDER BY key, place
    ON CONFLICT (schema_name, table_name, key) WHERE NOT resolved
    DO UPDATE SET
        reason = excluded.reason,
        "row" = excluded."row",
        waits = excluded.waits,
        last_batch = CASE WHEN {is_retry} THEN r.last_batch ELSE excluded.last_batch END
)

DELETE FROM {stage} AS s
USING bad
WHERE s.ctid = bad.place
