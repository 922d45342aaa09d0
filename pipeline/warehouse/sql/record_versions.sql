-- Insert a version for each dimension row that is new, or differs from its present version, and end that
-- one.
-- Names: all_columns, heap, place, touched (the rows to compare, as t), versions, same_key_as_version,
-- differs_from_version, columns_of_table.
-- Binds: at.
WITH changed AS MATERIALIZED (
    SELECT
        {all_columns},
        v.tableoid AS {heap},
        v.ctid AS {place}
    FROM {touched}
    LEFT JOIN {versions} AS v ON {same_key_as_version} AND v.valid_to IS NULL
    WHERE v.valid_from IS NULL OR {differs_from_version}
    ORDER BY v.tableoid, v.ctid, t.ctid -- noqa: RF01
),

ended AS (
    UPDATE {versions} AS t
    SET valid_to = %(at)s
    FROM changed AS s
    WHERE t.tableoid = s.{heap} AND t.ctid = s.{place}
)

INSERT INTO {versions} (valid_from, {columns_of_table})
SELECT
    %(at)s,
    {columns_of_table}
FROM changed
