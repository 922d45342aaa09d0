-- Rows that the model's result no longer has; the stage holds all of it. What they were stays in the history.
WITH old AS (
    DELETE FROM {table} AS t
    WHERE
        NOT EXISTS (SELECT FROM {stage} AS s WHERE {same_key})
        AND NOT EXISTS (
            SELECT
            FROM etl.rejected AS r
            WHERE
                r.table_name = %(table_name)s
                AND NOT r.resolved
                AND r.last_batch = %(batch)s
                AND r.key = {latest_key_json}
        )
    RETURNING t.*
)

INSERT INTO etl.superseded (table_name, key, superseded_at, "row")
SELECT %(table_name)s, {key_json}, %(at)s, to_jsonb(s.*)
FROM old AS s
