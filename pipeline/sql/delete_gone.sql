-- Rows whose key left the model's result; what they were stays in the history.
WITH old AS (
    DELETE FROM {table} AS t
    USING pg_temp.gone_keys AS s
    WHERE {same_key} AND NOT EXISTS (SELECT FROM {stage} AS r WHERE {restaged})
    RETURNING t.*
)

INSERT INTO etl.superseded (table_name, key, superseded_at, "row")
SELECT %(table_name)s, {key_json}, %(at)s, to_jsonb(s.*)
FROM old AS s
