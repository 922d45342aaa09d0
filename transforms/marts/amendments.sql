-- One row per column value that differs between two successive versions of a row: what was changed after it
-- was first captured. States that came and went between two batches are not seen. Deleted rows and columns
-- last_updated_* are not listed. A payment that becomes paid is listed, too.
-- columns:
-- table_name: the warehouse's table
-- key: the row's key as text; of two columns with a slash between them
-- sales_order_id: the sales order, also of its payment; otherwise NULL
-- purchase_order_id: the purchase order, also of its payment; otherwise NULL
-- column_name: the column that changed
-- old_value: the value before, as text
-- new_value: the value after, as text
-- amended_at: the moment of the batch that first saw the new value
-- previous_at: since when the old version was known; -infinity: before the first batch
-- staff_id: the order's member of staff after the change, not who made it; NULL for other tables
-- staff_name: first and last name; NULL for other tables
-- counterparty_id: the order's or payment's counterparty; NULL for dimensions
-- counterparty_name: legal name; NULL for dimensions
-- currency_code: ISO 4217 code of the order or payment; NULL for dimensions
-- amount_change: by how much the order's amount changed; NULL for other columns, or if its currency changed
-- amount_change_reporting: the same in the reporting currency, at the rate of the order's day
-- left_last_updated: true: the source's last_updated did not move; NULL for dimensions, where it is unknown
WITH versions AS (
    SELECT
        'fact_sales_order' AS table_name,
        CAST(later.sales_order_id AS text) AS key,
        earlier.valid_from AS previous_at,
        earlier.valid_to AS amended_at,
        earlier.deleted OR later.deleted AS is_deleted,
        to_jsonb(earlier) AS earlier_row,
        to_jsonb(later) AS later_row
    FROM fact_sales_order_history AS earlier
    INNER JOIN fact_sales_order_history AS later
        ON earlier.sales_order_id = later.sales_order_id AND earlier.valid_to = later.valid_from
    UNION ALL
    SELECT
        'fact_purchase_order',
        CAST(later.purchase_order_id AS text),
        earlier.valid_from,
        earlier.valid_to,
        earlier.deleted OR later.deleted,
        to_jsonb(earlier),
        to_jsonb(later)
    FROM fact_purchase_order_history AS earlier
    INNER JOIN fact_purchase_order_history AS later
        ON earlier.purchase_order_id = later.purchase_order_id AND earlier.valid_to = later.valid_from
    UNION ALL
    SELECT
        'fact_payment',
        CAST(later.payment_id AS text),
        earlier.valid_from,
        earlier.valid_to,
        earlier.deleted OR later.deleted,
        to_jsonb(earlier),
        to_jsonb(later)
    FROM fact_payment_history AS earlier
    INNER JOIN fact_payment_history AS later
        ON earlier.payment_id = later.payment_id AND earlier.valid_to = later.valid_from
    UNION ALL
    SELECT
        'dim_staff',
        CAST(later.staff_id AS text),
        earlier.valid_from,
        earlier.valid_to,
        earlier.deleted OR later.deleted,
        to_jsonb(earlier),
        to_jsonb(later)
    FROM dim_staff_history AS earlier
    INNER JOIN dim_staff_history AS later
        ON earlier.staff_id = later.staff_id AND earlier.valid_to = later.valid_from
    UNION ALL
    SELECT
        'dim_counterparty',
        CAST(later.counterparty_id AS text),
        earlier.valid_from,
        earlier.valid_to,
        earlier.deleted OR later.deleted,
        to_jsonb(earlier),
        to_jsonb(later)
    FROM dim_counterparty_history AS earlier
    INNER JOIN dim_counterparty_history AS later
        ON earlier.counterparty_id = later.counterparty_id AND earlier.valid_to = later.valid_from
    UNION ALL
    SELECT
        'dim_location',
        CAST(later.location_id AS text),
        earlier.valid_from,
        earlier.valid_to,
        earlier.deleted OR later.deleted,
        to_jsonb(earlier),
        to_jsonb(later)
    FROM dim_location_history AS earlier
    INNER JOIN dim_location_history AS later
        ON earlier.location_id = later.location_id AND earlier.valid_to = later.valid_from
    UNION ALL
    SELECT
        'dim_design',
        CAST(later.design_id AS text),
        earlier.valid_from,
        earlier.valid_to,
        earlier.deleted OR later.deleted,
        to_jsonb(earlier),
        to_jsonb(later)
    FROM dim_design_history AS earlier
    INNER JOIN dim_design_history AS later
        ON earlier.design_id = later.design_id AND earlier.valid_to = later.valid_from
    UNION ALL
    SELECT
        'dim_currency',
        CAST(later.currency_id AS text),
        earlier.valid_from,
        earlier.valid_to,
        earlier.deleted OR later.deleted,
        to_jsonb(earlier),
        to_jsonb(later)
    FROM dim_currency_history AS earlier
    INNER JOIN dim_currency_history AS later
        ON earlier.currency_id = later.currency_id AND earlier.valid_to = later.valid_from
    UNION ALL
    SELECT
        'dim_exchange_rate',
        CAST(later.rate_date AS text) || '/' || CAST(later.currency_id AS text),
        earlier.valid_from,
        earlier.valid_to,
        earlier.deleted OR later.deleted,
        to_jsonb(earlier),
        to_jsonb(later)
    FROM dim_exchange_rate_history AS earlier
    INNER JOIN dim_exchange_rate_history AS later
        ON
            earlier.rate_date = later.rate_date
            AND earlier.currency_id = later.currency_id
            AND earlier.valid_to = later.valid_from
    UNION ALL
    SELECT
        'dim_payment_type',
        CAST(later.payment_type_id AS text),
        earlier.valid_from,
        earlier.valid_to,
        earlier.deleted OR later.deleted,
        to_jsonb(earlier),
        to_jsonb(later)
    FROM dim_payment_type_history AS earlier
    INNER JOIN dim_payment_type_history AS later
        ON earlier.payment_type_id = later.payment_type_id AND earlier.valid_to = later.valid_from
    UNION ALL
    SELECT
        'dim_transaction',
        CAST(later.transaction_id AS text),
        earlier.valid_from,
        earlier.valid_to,
        earlier.deleted OR later.deleted,
        to_jsonb(earlier),
        to_jsonb(later)
    FROM dim_transaction_history AS earlier
    INNER JOIN dim_transaction_history AS later
        ON earlier.transaction_id = later.transaction_id AND earlier.valid_to = later.valid_from
),

changes AS (
    SELECT
        versions.*,
        changed.column_name,
        versions.earlier_row ->> changed.column_name AS old_value,
        versions.later_row ->> changed.column_name AS new_value,
        -- NULL for dimensions.
        CASE WHEN starts_with(versions.table_name, 'fact_') THEN versions.later_row END AS fact_row
    FROM versions
    CROSS JOIN LATERAL jsonb_each(versions.later_row) AS changed (column_name, new_value)
    WHERE
        versions.amended_at <= (SELECT etl.looked_at())
        AND NOT versions.is_deleted
        AND changed.new_value IS DISTINCT FROM versions.earlier_row -> changed.column_name
        AND changed.column_name NOT IN (
            'valid_from', 'valid_to', 'deleted', 'last_updated_date', 'last_updated_time',
            'sales_record_id', 'purchase_record_id', 'payment_record_id'
        )
),

amounts AS (
    SELECT
        changes.*,
        CAST(COALESCE(fact_row ->> 'sales_staff_id', fact_row ->> 'staff_id') AS integer) AS staff_id,
        CAST(fact_row ->> 'counterparty_id' AS integer) AS counterparty_id,
        CAST(fact_row ->> 'currency_id' AS integer) AS currency_id,
        CAST(fact_row ->> 'created_date' AS date) AS created_date,
        CAST(fact_row ->> 'transaction_id' AS integer) AS transaction_id,
        -- Effects of units and of price add up: changed units count with the old price, a changed price with
        -- the new units.
        CASE
            WHEN earlier_row -> 'currency_id' <> later_row -> 'currency_id' THEN NULL
            WHEN column_name IN ('units_sold', 'item_quantity')
                THEN (CAST(new_value AS numeric) - CAST(old_value AS numeric))
                    * CAST(
                        COALESCE(earlier_row ->> 'unit_price', earlier_row ->> 'item_unit_price') AS numeric
                    )
            WHEN column_name IN ('unit_price', 'item_unit_price')
                THEN (CAST(new_value AS numeric) - CAST(old_value AS numeric))
                    * CAST(COALESCE(later_row ->> 'units_sold', later_row ->> 'item_quantity') AS numeric)
        END AS amount_change
    FROM changes
)

SELECT
    amounts.table_name,
    amounts.key,
    -- A payment has its order by its transaction. As sub-SELECTs they cost nothing where they are not shown.
    COALESCE(
        CAST(amounts.fact_row ->> 'sales_order_id' AS integer),
        (SELECT t.sales_order_id FROM dim_transaction AS t WHERE amounts.transaction_id = t.transaction_id)
    ) AS sales_order_id,
    COALESCE(
        CAST(amounts.fact_row ->> 'purchase_order_id' AS integer),
        (SELECT t.purchase_order_id FROM dim_transaction AS t WHERE amounts.transaction_id = t.transaction_id)
    ) AS purchase_order_id,
    amounts.column_name,
    amounts.old_value,
    amounts.new_value,
    amounts.amended_at,
    amounts.previous_at,
    amounts.staff_id,
    staff.first_name || ' ' || staff.last_name AS staff_name,
    amounts.counterparty_id,
    counterparties.counterparty_legal_name AS counterparty_name,
    currencies.currency_code,
    amounts.amount_change,
    amounts.amount_change * rates.rate AS amount_change_reporting,
    amounts.fact_row -> 'last_updated_date' = amounts.earlier_row -> 'last_updated_date'
    AND amounts.fact_row -> 'last_updated_time'
    = amounts.earlier_row -> 'last_updated_time' AS left_last_updated
FROM amounts
LEFT JOIN dim_staff AS staff ON amounts.staff_id = staff.staff_id
LEFT JOIN dim_counterparty AS counterparties ON amounts.counterparty_id = counterparties.counterparty_id
LEFT JOIN dim_currency AS currencies ON amounts.currency_id = currencies.currency_id
LEFT JOIN exchange_rates AS rates
    ON amounts.currency_id = rates.currency_id AND amounts.created_date = rates.day
WHERE (SELECT day FROM today) IS NOT NULL
