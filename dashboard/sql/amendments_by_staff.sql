-- How many values of each member of staff's orders were amended.
-- Names: amendments (a query).
SELECT
    staff_name AS name, -- noqa: RF04
    count(*) AS changes
FROM ({amendments}) AS amended
WHERE staff_name IS NOT NULL
GROUP BY staff_name
