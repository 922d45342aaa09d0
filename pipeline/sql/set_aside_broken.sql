-- Rows that refer to something the warehouse does not have, or break a rule of the table, leave the stage.
WITH bad AS MATERIALIZED (
    SELECT s.ctid AS position, {key_json} AS key, judged.reason, jsonb_build_object({row_json}) AS "row"
    FROM {stage} AS s
    CROSS JOIN LATERAL (SELECT concat_ws('; ', {reasons}) AS reason) AS judged
    WHERE judged.reason <> ''
),

recorded AS (
    INSERT INTO etl.rejected (table_name, key, reason, "row", waits, first_batch, last_batch)
    SELECT %(table_name)s, key, reason, "row", true, %(batch)s, %(batch)s
    FROM bad
    ON CONFLICT (table_name, key) WHERE NOT resolved
    DO UPDATE SET
        reason = excluded.reason,
        "row" = excluded."row",
        waits = excluded.waits,
        last_batch = excluded.last_batch
)

DELETE FROM {stage} AS s
USING bad
WHERE s.ctid = bad.position
