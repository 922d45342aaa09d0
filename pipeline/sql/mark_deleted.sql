-- A last version for every row that the source no longer has. The stage holds all of it.
INSERT INTO {table} ({columns}, recorded_at, deleted) OVERRIDING SYSTEM VALUE
SELECT {columns}, %(at)s, true
FROM (
    SELECT DISTINCT ON ({key}) *
    FROM {table}
    ORDER BY {key}, recorded_at DESC
) AS t
WHERE
    NOT t.deleted
    AND NOT EXISTS (SELECT FROM {stage} AS s WHERE {same_key})
    AND NOT EXISTS (
        SELECT
        FROM etl.rejected AS r
        WHERE
            r.table_name = %(table_name)s
            AND NOT r.resolved
            AND r.last_batch = %(batch)s
            AND r.key = {latest_key_json}
    )
