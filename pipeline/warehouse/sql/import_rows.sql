-- Cast the texts of imported rows to the types of their table. Returns [cast, 0].
-- Names: typed (the casts of line, valid_from, valid_to and the row), untyped, chosen (which rows).
WITH typed AS (
    INSERT INTO pg_temp.imported (line, valid_from, valid_to, content)
    SELECT {typed}
    FROM {untyped} AS s
    WHERE {chosen}
    RETURNING 1 AS one
)

SELECT ARRAY[count(*), 0] AS counts
FROM typed
