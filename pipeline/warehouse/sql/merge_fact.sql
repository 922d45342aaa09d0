-- Insert a version for each staged row that is new, or differs from the current version of its key, and end
-- that one. Returns [new keys, changed keys].
-- Names: staged_columns, is_first, heap, place, stage, table, same_key, chosen, differs, columns.
-- Binds: at.
WITH new AS MATERIALIZED (
    SELECT
        {staged_columns},
        t.recorded_at IS NULL AS {is_first},
        t.tableoid AS {heap},
        t.ctid AS {place}
    FROM {stage} AS s
    LEFT JOIN {table} AS t ON {same_key} AND t.superseded_at IS NULL
    WHERE {chosen} AND (t.recorded_at IS NULL OR t.deleted OR {differs})
    -- Versions are ended, and new ones added, page by page.
    ORDER BY t.tableoid, t.ctid, s.ctid
),

ended AS (
    UPDATE {table} AS t
    SET superseded_at = %(at)s
    FROM new AS s
    WHERE t.tableoid = s.{heap} AND t.ctid = s.{place}
),

added AS (
    INSERT INTO {table} ({columns}, recorded_at, deleted) OVERRIDING SYSTEM VALUE
    SELECT
        {columns},
        %(at)s,
        false
    FROM new
)

SELECT ARRAY[count(*) FILTER (WHERE {is_first}), count(*) FILTER (WHERE NOT {is_first})] AS counts
FROM new
