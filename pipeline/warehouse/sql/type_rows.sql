-- Give untyped rows the types of their table; Postgres reads them as COPY would.
WITH typed AS (
    INSERT INTO {stage} ({columns})
    SELECT {typed}
    FROM {untyped} AS s
    WHERE {chosen}
    RETURNING 1 AS one
)

SELECT ARRAY[count(*), 0] AS counts
FROM typed
