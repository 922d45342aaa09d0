-- How many values and rows were amended, and how many of the values silently.
-- Names: amendments (a query).
SELECT
    count(*) AS changes,
    count(DISTINCT (table_name, key)) AS changed_rows,
    count(*) FILTER (WHERE left_last_updated) AS silent
FROM ({amendments}) AS amended
