-- Merge successive versions of a key that no longer differ. A dimension's last one says whether the row was
-- deleted.
-- Names: key, begins, ends, content (what versions are compared by, as a row of w), relation.
WITH versions AS (
    SELECT
        w.tableoid AS heap,
        w.ctid AS place,
        {key} AS row_key,
        w.{begins} AS begun,
        w.{ends} AS ended,
        w.deleted,
        {content} AS shown
    FROM {relation} AS w
    WHERE {key} IN (SELECT e.key FROM pg_temp.erased AS e)
),

compared AS (
    SELECT
        versions.*,
        shown IS NOT DISTINCT FROM lag(shown) OVER (by_time) AND begun = lag(ended) OVER (by_time) AS is_same
    FROM versions
    WINDOW by_time AS (PARTITION BY row_key ORDER BY begun)
),

grouped AS (
    SELECT
        compared.*,
        count(*) FILTER (WHERE is_same IS NOT TRUE) OVER (PARTITION BY row_key ORDER BY begun) AS number
    FROM compared
),

joined AS (
    SELECT
        grouped.*,
        first_value(ended) OVER (by_time) AS last_end,
        first_value(deleted) OVER (by_time) AS last_deleted
    FROM grouped
    WINDOW by_time AS (PARTITION BY row_key, number ORDER BY begun DESC)
),

removed AS (
    DELETE FROM {relation} AS w
    USING joined AS j
    WHERE w.tableoid = j.heap AND w.ctid = j.place AND j.is_same
)

UPDATE {relation} AS w
SET {ends} = j.last_end, deleted = j.last_deleted
FROM joined AS j
WHERE
    w.tableoid = j.heap
    AND w.ctid = j.place
    AND j.is_same IS NOT TRUE
    AND w.{ends} IS DISTINCT FROM j.last_end
