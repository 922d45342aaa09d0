-- The first and the last day with sales orders; no row without one. They are searched for month by month from
-- both ends, as the orders of a month are found by an index.
-- Names: fact_sales_order, dim_date.
WITH months AS (
    SELECT
        min(date_id) AS first_day,
        max(date_id) AS last_day
    FROM {dim_date}
    GROUP BY year, month
)

SELECT
    earliest.since,
    latest.until
FROM
    (
        SELECT found.since
        FROM (SELECT * FROM months ORDER BY first_day) AS month
        CROSS JOIN
            LATERAL (
                SELECT min(created_date) AS since
                FROM {fact_sales_order}
                WHERE created_date BETWEEN month.first_day AND month.last_day
            ) AS found
        WHERE found.since IS NOT NULL
        ORDER BY month.first_day
        LIMIT 1
    ) AS earliest
CROSS JOIN
    (
        SELECT found.until
        FROM (SELECT * FROM months ORDER BY first_day DESC) AS month
        CROSS JOIN
            LATERAL (
                SELECT max(created_date) AS until
                FROM {fact_sales_order}
                WHERE created_date BETWEEN month.first_day AND month.last_day
            ) AS found
        WHERE found.until IS NOT NULL
        ORDER BY month.first_day DESC
        LIMIT 1
    ) AS latest
