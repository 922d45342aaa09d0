-- Remove the rows of a dimension that only an earlier import has brought, and give those that are imported
-- again their last version.
-- Names: table, relation (the table of versions), same_key_in_table (a condition on t and s),
-- same_key_imported (a condition on the row i and t), key (columns of the row i), assignments (of columns of
-- the row i).
-- Binds: base (the time of the first batch).
WITH former AS MATERIALIZED (
    SELECT
        t.tableoid AS heap,
        t.ctid AS place
    FROM {table} AS t
    WHERE
        EXISTS (SELECT FROM {relation} AS s WHERE {same_key_in_table} AND s.valid_from > '-infinity')
        AND NOT EXISTS (
            SELECT FROM {relation} AS s WHERE {same_key_in_table} AND COALESCE(s.valid_to > %(base)s, true)
        )
),

last_imported AS (
    SELECT DISTINCT ON ({key}) i.content
    FROM pg_temp.imported AS i
    ORDER BY {key}, i.valid_from DESC
),

updated AS (
    UPDATE {table} AS t
    SET {assignments}
    FROM former AS f
    CROSS JOIN last_imported AS i
    WHERE t.tableoid = f.heap AND t.ctid = f.place AND {same_key_imported}
)

DELETE FROM {table} AS t
USING former AS f
WHERE
    t.tableoid = f.heap
    AND t.ctid = f.place
    AND NOT EXISTS (SELECT FROM pg_temp.imported AS i WHERE {same_key_imported})
