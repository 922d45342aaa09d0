-- Cast staged or imported rows to the types of their table, as COPY would read them. Returns [cast, 0].
-- Names: stage, columns, typed (the casts), untyped, chosen (which rows).
WITH typed AS (
    INSERT INTO {stage} ({columns})
    SELECT {typed}
    FROM {untyped} AS s
    WHERE {chosen}
    RETURNING 1 AS one
)

SELECT ARRAY[count(*), 0] AS counts
FROM typed
