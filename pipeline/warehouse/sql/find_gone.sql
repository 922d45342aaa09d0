-- Keys that the model's result no longer has; the stage holds all of it.
INSERT INTO pg_temp.gone_keys ({key})
SELECT {key}
FROM {live} AS t
WHERE
    {is_live}
    AND NOT EXISTS (SELECT FROM {stage} AS s WHERE {same_key})
    AND NOT EXISTS (
        SELECT
        FROM etl.rejected AS r
        WHERE
            r.schema_name = %(schema)s
            AND r.table_name = %(table_name)s
            AND NOT r.resolved
            AND r.last_batch = %(batch)s
            AND r.key = {latest_key_json}
    )
