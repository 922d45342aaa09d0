-- How many values and rows were amended, and how many of the values silently.
-- Names: amendments (a query).
SELECT
    count(*) AS changes,
    count(DISTINCT concat(table_name, ' ', key)) AS changed_rows, -- noqa: CP03
    count(*) FILTER (WHERE left_last_updated) AS silent
FROM ({amendments}) AS amended
