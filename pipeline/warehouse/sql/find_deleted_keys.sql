-- Find the keys that a complete result no longer has. Keys that this batch rejects stay.
-- Names: key, live (the table of present rows), is_live (the condition of a present row), stage, same_key,
-- table_key_json, same_repeated_key (the condition that the rejected row r has a key that equals that of t).
-- Binds: schema, table_name, batch.
INSERT INTO pg_temp.deleted_keys ({key})
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
            AND r.key = {table_key_json}
    )
    AND NOT EXISTS (
        SELECT
        FROM etl.rejected AS r
        WHERE
            r.schema_name = %(schema)s
            AND r.table_name = %(table_name)s
            AND NOT r.resolved
            AND r.last_batch = %(batch)s
            AND {same_repeated_key}
    )
