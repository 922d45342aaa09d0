-- Rows of a dimension that has no columns beside its key.
WITH added AS (
    INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE
    SELECT {staged_columns}
    FROM {stage} AS s
    WHERE {chosen} AND NOT EXISTS (SELECT FROM {table} AS t WHERE {same_key})
    RETURNING 1 AS one
)

SELECT ARRAY[count(*), 0] AS counts
FROM added
