-- Rows that differ take their new contents; the old ones are kept aside.
WITH old AS (
    INSERT INTO etl.superseded (table_name, key, superseded_at, "row")
    SELECT %(table_name)s, {key_json}, %(at)s, to_jsonb(t.*)
    FROM {table} AS t
    INNER JOIN {stage} AS s ON {same_key}
    WHERE {differs}
)

UPDATE {table} AS t
SET {assignments}
FROM {stage} AS s
WHERE {same_key} AND {differs}
