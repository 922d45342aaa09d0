-- Insert the staged keys that a dimension without other columns lacks. Returns [added, 0].
-- Names: table, columns, staged_columns, stage, chosen, same_key.
WITH added AS (
    INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE
    SELECT {staged_columns}
    FROM {stage} AS s
    WHERE {chosen} AND NOT EXISTS (SELECT FROM {table} AS t WHERE {same_key})
    RETURNING 1 AS one
)

SELECT ARRAY[count(*), 0] AS counts
FROM added
