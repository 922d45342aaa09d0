-- One row per sales order whose revenue differs between two moments, by month and currency: what explains
-- that a report of an earlier moment showed another revenue. An order that moved to another month or currency
-- has two rows. SELECT * FROM reporting.revenue_changes('2026-11-23 09:00+00') compares with now.
-- columns:
-- month: the first day of the month in which the order was placed
-- sales_order_id: the order
-- currency_code: ISO 4217 code of the currency; amounts of different currencies do not add up
-- reason: new, amended or deleted
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
    WITH touched AS (
        SELECT DISTINCT versions.sales_order_id
        FROM fact_sales_order_history AS versions
        WHERE versions.valid_from > LEAST(shown_at, until) AND versions.valid_from <= GREATEST(shown_at, until)
    ),

    orders_then AS (
        SELECT
            orders.sales_order_id,
            orders.currency_id,
            CAST(date_trunc('month', CAST(orders.created_date AS timestamp)) AS date) AS month,
            orders.units_sold * orders.unit_price AS revenue,
            orders.units_sold * orders.unit_price * rates.rate AS revenue_reporting
        FROM fact_sales_order_as_of(shown_at) AS orders
        INNER JOIN touched ON orders.sales_order_id = touched.sales_order_id
        LEFT JOIN exchange_rates AS rates
            ON orders.currency_id = rates.currency_id AND orders.created_date = rates.day
    ),

    orders_now AS (
        SELECT
            orders.sales_order_id,
            orders.currency_id,
            CAST(date_trunc('month', CAST(orders.created_date AS timestamp)) AS date) AS month,
            orders.units_sold * orders.unit_price AS revenue,
            orders.units_sold * orders.unit_price * rates.rate AS revenue_reporting
        FROM fact_sales_order_as_of(until) AS orders
        INNER JOIN touched ON orders.sales_order_id = touched.sales_order_id
        LEFT JOIN exchange_rates AS rates
            ON orders.currency_id = rates.currency_id AND orders.created_date = rates.day
    ),

    compared AS (
        SELECT
            sales_order_id,
            currency_id,
            month,
            COALESCE(orders_then.revenue, 0) AS revenue_then,
            COALESCE(orders_now.revenue, 0) AS revenue_now,
            CASE WHEN orders_now.revenue IS NULL THEN 0 ELSE orders_now.revenue_reporting END
            - CASE WHEN orders_then.revenue IS NULL THEN 0 ELSE orders_then.revenue_reporting END
                AS difference_reporting
        FROM orders_then
        FULL JOIN orders_now USING (sales_order_id, currency_id, month)
    )

    SELECT
        compared.month,
        compared.sales_order_id,
        CAST(currencies.currency_code AS text),
        CASE
            WHEN NOT EXISTS (SELECT FROM orders_then AS o WHERE o.sales_order_id = compared.sales_order_id)
                THEN 'new'
            WHEN NOT EXISTS (SELECT FROM orders_now AS o WHERE o.sales_order_id = compared.sales_order_id)
                THEN 'deleted'
            ELSE 'amended'
        END,
        compared.revenue_then,
        compared.revenue_now,
        compared.revenue_now - compared.revenue_then,
        compared.difference_reporting
    FROM compared
    LEFT JOIN dim_currency AS currencies ON compared.currency_id = currencies.currency_id
    WHERE
        compared.revenue_now <> compared.revenue_then
        -- Refuses a moment before the first batch, also if nothing was touched.
        AND (SELECT count(*) FROM (SELECT FROM fact_sales_order_as_of(shown_at) LIMIT 1) AS one_order) >= 0
$$
