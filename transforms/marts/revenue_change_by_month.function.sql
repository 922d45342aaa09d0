-- One row per month and currency with sales at one of two moments: the revenue that a report showed at the
-- first one, the revenue at the second one, and what makes the difference.
-- SELECT * FROM reporting.revenue_change_by_month((SELECT first_batch FROM reporting.freshness)).
-- The moment of the first batch is the earliest; reporting.batches has later ones.
-- columns:
-- month: the first day of the month in which the orders were placed
-- currency_code: ISO 4217 code of the currency; amounts of different currencies do not add up
-- revenue_then: the month's revenue at the moment shown_at
-- revenue_now: the month's revenue at the moment until
-- difference: revenue_now minus revenue_then; can be summed within a currency
-- difference_reporting: the same in the reporting currency, at each day's rate; NULL if a day has no rate
-- from_new: the part of the difference from orders captured after shown_at, even if placed earlier
-- from_amended: the part from orders that were amended
-- from_deleted: the part from orders that were deleted
CREATE OR REPLACE FUNCTION revenue_change_by_month(
    shown_at timestamptz, until timestamptz DEFAULT etl.looked_at()
)
RETURNS TABLE (
    month date,
    currency_code text,
    revenue_then numeric,
    revenue_now numeric,
    difference numeric,
    difference_reporting numeric,
    from_new numeric,
    from_amended numeric,
    from_deleted numeric
)
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    WITH days AS (
        SELECT
            orders.created_date,
            orders.currency_id,
            sum(orders.units_sold * orders.unit_price) AS revenue
        FROM fact_sales_order_as_of(shown_at) AS orders
        GROUP BY orders.created_date, orders.currency_id
    ),

    shown AS (
        SELECT
            CAST(date_trunc('month', CAST(days.created_date AS timestamp)) AS date) AS month,
            CAST(currencies.currency_code AS text) AS currency_code,
            sum(days.revenue) AS revenue
        FROM days
        LEFT JOIN dim_currency AS currencies ON days.currency_id = currencies.currency_id
        GROUP BY 1, 2
    ),

    changes AS (
        SELECT
            changes.month,
            changes.currency_code,
            sum(changes.difference) AS difference,
            CASE
                WHEN count(*) = count(changes.difference_reporting) THEN sum(changes.difference_reporting)
            END AS difference_reporting,
            COALESCE(sum(changes.difference) FILTER (WHERE changes.reason = 'new'), 0) AS from_new,
            COALESCE(sum(changes.difference) FILTER (WHERE changes.reason = 'amended'), 0) AS from_amended,
            COALESCE(sum(changes.difference) FILTER (WHERE changes.reason = 'deleted'), 0) AS from_deleted
        FROM revenue_changes(shown_at, until) AS changes
        GROUP BY changes.month, changes.currency_code
    )

    SELECT
        month,
        currency_code,
        COALESCE(shown.revenue, 0),
        COALESCE(shown.revenue, 0) + COALESCE(changes.difference, 0),
        COALESCE(changes.difference, 0),
        CASE WHEN changes.difference IS NULL THEN 0 ELSE changes.difference_reporting END,
        COALESCE(changes.from_new, 0),
        COALESCE(changes.from_amended, 0),
        COALESCE(changes.from_deleted, 0)
    FROM shown
    FULL JOIN changes USING (month, currency_code)
$$
