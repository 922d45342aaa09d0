-- Staged rows that conflict with another row, once all of them are in the table. Of several staged rows the
-- first may stay.
-- Names: expressions (what the index compares), table, predicate (of the index), stage, same_key, in_common
-- (the condition of a conflict).
WITH entries AS (
    SELECT
        tableoid AS heap,
        ctid AS place,
        {expressions}
    FROM {table}
    WHERE {predicate}
),

mine AS (
    SELECT
        c.place AS staged,
        t.tableoid AS heap,
        t.ctid AS place
    FROM changing AS c
    INNER JOIN {stage} AS s ON c.place = s.ctid
    INNER JOIN {table} AS t ON {same_key}
)

SELECT DISTINCT m.staged::text
FROM mine AS m
INNER JOIN entries AS e ON m.heap = e.heap AND m.place = e.place
INNER JOIN entries AS o ON {in_common} AND (o.heap, o.place) <> (e.heap, e.place)
LEFT JOIN mine AS other ON o.heap = other.heap AND o.place = other.place
WHERE other.staged IS NULL OR other.staged < m.staged
