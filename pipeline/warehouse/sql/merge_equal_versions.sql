-- Merge successive versions of a key that no longer differ. A dimension's last one says whether the row was
-- deleted. Returns how many are gone.
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

preceded AS (
    SELECT
        versions.*,
        lag(shown) OVER (by_time) AS shown_before,
        lag(ended) OVER (by_time) AS ended_before
    FROM versions
    WINDOW by_time AS (PARTITION BY row_key ORDER BY begun)
),

compared AS (
    SELECT
        preceded.*,
        COALESCE(shown IS NOT DISTINCT FROM shown_before AND begun = ended_before, false) AS is_same
    FROM preceded
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
    RETURNING 1 AS one
),

lengthened AS (
    UPDATE {relation} AS w
    SET {ends} = j.last_end, deleted = j.last_deleted
    FROM joined AS j
    WHERE
        w.tableoid = j.heap
        AND w.ctid = j.place
        AND j.is_same IS NOT TRUE
        AND w.{ends} IS DISTINCT FROM j.last_end
)

SELECT count(*) AS number
FROM removed
