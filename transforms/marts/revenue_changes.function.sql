-- One row per sales order whose revenue differs between two moments, by month and currency: what explains
-- that a report of an earlier moment showed another revenue. An order that moved to another month or currency
-- has two rows. A comparison with now:
-- SELECT * FROM reporting.revenue_changes((SELECT first_batch FROM reporting.freshness)).
-- The moment of the first batch is the earliest; reporting.batches has later ones.
-- question: Why did last month's revenue change since it was reported on that Monday?
-- columns:
-- month: the first day of the month in which the order was placed
-- sales_order_id: the order
-- currency_code: ISO 4217 code of the currency; amounts of different currencies do not add up
-- reason: new: captured after shown_at, even if placed earlier; amended: captured by then, and its revenue,
-- month or currency changed; deleted: deleted in the source after shown_at
-- revenue_then: the order's revenue at the moment shown_at; 0 if it was not there
-- revenue_now: the order's revenue at the moment until; 0 if it is not there
-- difference: revenue_now minus revenue_then; can be summed within a currency
-- difference_reporting: the same in the reporting currency, at the rate of each order's day
CREATE OR REPLACE FUNCTION revenue_changes(shown_at timestamptz, until timestamptz DEFAULT etl.looked_at())
RETURNS TABLE (
    month date,
    sales_order_id integer,
    currency_code text,
    reason text,
    revenue_then numeric,
    revenue_now numeric,
    difference numeric,
    difference_reporting numeric
)
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    -- Versions of the earlier moment that ended before the later one, and those of the later moment that have
    -- begun since: all other orders have one version at both. Both are found by an index.
    WITH ended AS (
        SELECT
            orders.sales_order_id,
            orders.currency_id,
            CAST(date_trunc('month', CAST(orders.created_date AS timestamp)) AS date) AS month,
            orders.units_sold * orders.unit_price AS revenue,
            orders.units_sold * orders.unit_price * rates.rate AS revenue_reporting
        FROM fact_sales_order_history AS orders
        LEFT JOIN exchange_rates AS rates
            ON orders.currency_id = rates.currency_id AND orders.created_date = rates.day
        WHERE
            orders.valid_to > LEAST(shown_at, until)
            AND orders.valid_to <= GREATEST(shown_at, until)
            AND orders.valid_from <= LEAST(shown_at, until)
            AND NOT orders.deleted
    ),

    begun AS (
        SELECT
            orders.sales_order_id,
            orders.currency_id,
            CAST(date_trunc('month', CAST(orders.created_date AS timestamp)) AS date) AS month,
            orders.units_sold * orders.unit_price AS revenue,
            orders.units_sold * orders.unit_price * rates.rate AS revenue_reporting
        FROM fact_sales_order_history AS orders
        LEFT JOIN exchange_rates AS rates
            ON orders.currency_id = rates.currency_id AND orders.created_date = rates.day
        WHERE
            orders.valid_from > LEAST(shown_at, until)
            AND orders.valid_from <= GREATEST(shown_at, until)
            AND (orders.valid_to IS NULL OR orders.valid_to > GREATEST(shown_at, until))
            AND NOT orders.deleted
    ),

    compared AS (
        SELECT
            sales_order_id,
            currency_id,
            month,
            ended.revenue AS earlier_revenue,
            ended.revenue_reporting AS earlier_reporting,
            begun.revenue AS later_revenue,
            begun.revenue_reporting AS later_reporting
        FROM ended
        FULL JOIN begun USING (sales_order_id, currency_id, month)
    ),

    shown AS (
        SELECT
            compared.*,
            CASE WHEN shown_at <= until THEN earlier_revenue ELSE later_revenue END AS revenue_then,
            CASE WHEN shown_at <= until THEN later_revenue ELSE earlier_revenue END AS revenue_now,
            CASE WHEN later_revenue IS NULL THEN 0 ELSE later_reporting END
            - CASE WHEN earlier_revenue IS NULL THEN 0 ELSE earlier_reporting END AS later_difference,
            count(earlier_revenue) OVER by_order > 0 AS is_earlier,
            count(later_revenue) OVER by_order > 0 AS is_later
        FROM compared
        WINDOW by_order AS (PARTITION BY sales_order_id)
    )

    SELECT
        shown.month,
        shown.sales_order_id,
        CAST(currencies.currency_code AS text),
        CASE
            WHEN shown.is_earlier AND shown.is_later THEN 'amended'
            WHEN shown.is_later = (shown_at <= until) THEN 'new'
            ELSE 'deleted'
        END,
        COALESCE(shown.revenue_then, 0),
        COALESCE(shown.revenue_now, 0),
        COALESCE(shown.revenue_now, 0) - COALESCE(shown.revenue_then, 0),
        CASE WHEN shown_at <= until THEN shown.later_difference ELSE -shown.later_difference END
    FROM shown
    LEFT JOIN dim_currency AS currencies ON shown.currency_id = currencies.currency_id
    WHERE
        COALESCE(shown.revenue_now, 0) <> COALESCE(shown.revenue_then, 0)
        -- Refuse a moment before the first batch, also if nothing has changed.
        AND (SELECT count(*) FROM (SELECT FROM fact_sales_order_as_of(shown_at) LIMIT 1) AS one_order) >= 0
        AND (SELECT count(*) FROM (SELECT FROM fact_sales_order_as_of(until) LIMIT 1) AS one_order) >= 0
$$
