-- Record staged rows as rejected and remove them from the stage. Of several rows of one key the first is
-- kept.
-- Names: key_json, row_json, stage, reasons (a query of reason and retried for the row s), is_retry (whether
-- the rows were rejected before).
-- Binds: schema, table_name, batch.
WITH rejected AS MATERIALIZED (
    SELECT
        s.ctid AS place,
        f.reason,
        f.retried,
        {key_json} AS key,
        {row_json} AS "row"
    FROM {stage} AS s
    CROSS JOIN LATERAL ({reasons}) AS f
    WHERE f.reason <> ''
),

recorded AS (
    INSERT INTO etl.rejected AS r (
        schema_name, table_name, key, reason, "row", waits, first_batch, last_batch, by_load
    )
    SELECT DISTINCT ON (key)
        %(schema)s, %(table_name)s, key, reason, "row", retried, %(batch)s, %(batch)s, true
    FROM rejected
    ORDER BY key, place
    ON CONFLICT (schema_name, table_name, key) WHERE NOT resolved
    DO UPDATE SET
        reason = excluded.reason,
        "row" = excluded."row",
        waits = excluded.waits,
        by_load = excluded.by_load,
        last_batch = CASE WHEN {is_retry} THEN r.last_batch ELSE excluded.last_batch END
    -- Most retried rows stay as they are.
    WHERE NOT {is_retry}
    OR (r.reason, r."row", r.waits, r.by_load)
    IS DISTINCT FROM (excluded.reason, excluded."row", excluded.waits, excluded.by_load)
)

DELETE FROM {stage} AS s
USING rejected
WHERE s.ctid = rejected.place
