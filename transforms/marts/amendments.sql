-- One row per column value that differs between two successive versions of a row: what was changed after it
-- was first captured. States that came and went between two batches are not seen. Deleted rows and columns
-- last_updated_* are not listed. A payment that becomes paid is listed, too.
-- question: What was changed since the second batch, order by order, with old and new value?
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
WITH fact_changes AS (
    SELECT
        'fact_sales_order' AS table_name,
        CAST(later.sales_order_id AS text) AS key,
        later.sales_order_id,
        CAST(NULL AS integer) AS purchase_order_id,
        CAST(NULL AS integer) AS transaction_id,
        changed.value AS change,
        former.valid_from AS previous_at,
        former.valid_to AS amended_at,
        later.sales_staff_id AS staff_id,
        later.counterparty_id,
        later.currency_id,
        later.created_date,
        -- Effects of units and of price add up: changed units count with the old price, a changed price with
        -- the new units.
        CASE
            WHEN former.currency_id <> later.currency_id THEN NULL
            WHEN changed.value ->> 0 = 'units_sold'
                THEN (later.units_sold - former.units_sold) * former.unit_price
            WHEN changed.value ->> 0 = 'unit_price'
                THEN (later.unit_price - former.unit_price) * later.units_sold
        END AS amount_change,
        former.last_updated_date = later.last_updated_date
        AND former.last_updated_time = later.last_updated_time AS left_last_updated
    FROM fact_sales_order_history AS former
    INNER JOIN fact_sales_order_history AS later
        ON former.sales_order_id = later.sales_order_id AND former.valid_to = later.valid_from
    CROSS JOIN
        LATERAL unnest(
            ARRAY[
                CASE
                    WHEN former.created_date IS DISTINCT FROM later.created_date
                        THEN jsonb_build_array('created_date', former.created_date, later.created_date)
                END,
                CASE
                    WHEN former.created_time IS DISTINCT FROM later.created_time
                        THEN jsonb_build_array('created_time', former.created_time, later.created_time)
                END,
                CASE
                    WHEN former.sales_staff_id IS DISTINCT FROM later.sales_staff_id
                        THEN jsonb_build_array('sales_staff_id', former.sales_staff_id, later.sales_staff_id)
                END,
                CASE
                    WHEN former.counterparty_id IS DISTINCT FROM later.counterparty_id
                        THEN jsonb_build_array(
                                'counterparty_id', former.counterparty_id, later.counterparty_id
                            )
                END,
                CASE
                    WHEN former.units_sold IS DISTINCT FROM later.units_sold
                        THEN jsonb_build_array('units_sold', former.units_sold, later.units_sold)
                END,
                CASE
                    WHEN former.unit_price IS DISTINCT FROM later.unit_price
                        THEN jsonb_build_array('unit_price', former.unit_price, later.unit_price)
                END,
                CASE
                    WHEN former.currency_id IS DISTINCT FROM later.currency_id
                        THEN jsonb_build_array('currency_id', former.currency_id, later.currency_id)
                END,
                CASE
                    WHEN former.design_id IS DISTINCT FROM later.design_id
                        THEN jsonb_build_array('design_id', former.design_id, later.design_id)
                END,
                CASE
                    WHEN former.agreed_payment_date IS DISTINCT FROM later.agreed_payment_date
                        THEN jsonb_build_array(
                                'agreed_payment_date', former.agreed_payment_date, later.agreed_payment_date
                            )
                END,
                CASE
                    WHEN former.agreed_delivery_date IS DISTINCT FROM later.agreed_delivery_date
                        THEN jsonb_build_array(
                                'agreed_delivery_date',
                                former.agreed_delivery_date,
                                later.agreed_delivery_date
                            )
                END,
                CASE
                    WHEN former.agreed_delivery_location_id IS DISTINCT FROM later.agreed_delivery_location_id
                        THEN jsonb_build_array(
                                'agreed_delivery_location_id',
                                former.agreed_delivery_location_id,
                                later.agreed_delivery_location_id
                            )
                END
            ]
        ) AS changed (value)
    WHERE
        former.valid_to IS NOT NULL
        AND NOT former.deleted
        AND NOT later.deleted
        AND changed.value IS NOT NULL
    UNION ALL
    SELECT
        'fact_purchase_order' AS table_name,
        CAST(later.purchase_order_id AS text) AS key,
        CAST(NULL AS integer) AS sales_order_id,
        later.purchase_order_id,
        CAST(NULL AS integer) AS transaction_id,
        changed.value AS change,
        former.valid_from AS previous_at,
        former.valid_to AS amended_at,
        later.staff_id,
        later.counterparty_id,
        later.currency_id,
        later.created_date,
        -- Effects of units and of price add up: changed units count with the old price, a changed price with
        -- the new units.
        CASE
            WHEN former.currency_id <> later.currency_id THEN NULL
            WHEN changed.value ->> 0 = 'item_quantity'
                THEN (later.item_quantity - former.item_quantity) * former.item_unit_price
            WHEN changed.value ->> 0 = 'item_unit_price'
                THEN (later.item_unit_price - former.item_unit_price) * later.item_quantity
        END AS amount_change,
        former.last_updated_date = later.last_updated_date
        AND former.last_updated_time = later.last_updated_time AS left_last_updated
    FROM fact_purchase_order_history AS former
    INNER JOIN fact_purchase_order_history AS later
        ON former.purchase_order_id = later.purchase_order_id AND former.valid_to = later.valid_from
    CROSS JOIN
        LATERAL unnest(
            ARRAY[
                CASE
                    WHEN former.created_date IS DISTINCT FROM later.created_date
                        THEN jsonb_build_array('created_date', former.created_date, later.created_date)
                END,
                CASE
                    WHEN former.created_time IS DISTINCT FROM later.created_time
                        THEN jsonb_build_array('created_time', former.created_time, later.created_time)
                END,
                CASE
                    WHEN former.staff_id IS DISTINCT FROM later.staff_id
                        THEN jsonb_build_array('staff_id', former.staff_id, later.staff_id)
                END,
                CASE
                    WHEN former.counterparty_id IS DISTINCT FROM later.counterparty_id
                        THEN jsonb_build_array(
                                'counterparty_id', former.counterparty_id, later.counterparty_id
                            )
                END,
                CASE
                    WHEN former.item_code IS DISTINCT FROM later.item_code
                        THEN jsonb_build_array('item_code', former.item_code, later.item_code)
                END,
                CASE
                    WHEN former.item_quantity IS DISTINCT FROM later.item_quantity
                        THEN jsonb_build_array('item_quantity', former.item_quantity, later.item_quantity)
                END,
                CASE
                    WHEN former.item_unit_price IS DISTINCT FROM later.item_unit_price
                        THEN jsonb_build_array(
                                'item_unit_price', former.item_unit_price, later.item_unit_price
                            )
                END,
                CASE
                    WHEN former.currency_id IS DISTINCT FROM later.currency_id
                        THEN jsonb_build_array('currency_id', former.currency_id, later.currency_id)
                END,
                CASE
                    WHEN former.agreed_delivery_date IS DISTINCT FROM later.agreed_delivery_date
                        THEN jsonb_build_array(
                                'agreed_delivery_date',
                                former.agreed_delivery_date,
                                later.agreed_delivery_date
                            )
                END,
                CASE
                    WHEN former.agreed_payment_date IS DISTINCT FROM later.agreed_payment_date
                        THEN jsonb_build_array(
                                'agreed_payment_date', former.agreed_payment_date, later.agreed_payment_date
                            )
                END,
                CASE
                    WHEN former.agreed_delivery_location_id IS DISTINCT FROM later.agreed_delivery_location_id
                        THEN jsonb_build_array(
                                'agreed_delivery_location_id',
                                former.agreed_delivery_location_id,
                                later.agreed_delivery_location_id
                            )
                END
            ]
        ) AS changed (value)
    WHERE
        former.valid_to IS NOT NULL
        AND NOT former.deleted
        AND NOT later.deleted
        AND changed.value IS NOT NULL
    UNION ALL
    SELECT
        'fact_payment' AS table_name,
        CAST(later.payment_id AS text) AS key,
        CAST(NULL AS integer) AS sales_order_id,
        CAST(NULL AS integer) AS purchase_order_id,
        later.transaction_id,
        changed.value AS change,
        former.valid_from AS previous_at,
        former.valid_to AS amended_at,
        CAST(NULL AS integer) AS staff_id,
        later.counterparty_id,
        later.currency_id,
        later.created_date,
        CAST(NULL AS numeric) AS amount_change,
        former.last_updated_date = later.last_updated_date
        AND former.last_updated_time = later.last_updated_time AS left_last_updated
    FROM fact_payment_history AS former
    INNER JOIN fact_payment_history AS later
        ON former.payment_id = later.payment_id AND former.valid_to = later.valid_from
    CROSS JOIN
        LATERAL unnest(
            ARRAY[
                CASE
                    WHEN former.created_date IS DISTINCT FROM later.created_date
                        THEN jsonb_build_array('created_date', former.created_date, later.created_date)
                END,
                CASE
                    WHEN former.created_time IS DISTINCT FROM later.created_time
                        THEN jsonb_build_array('created_time', former.created_time, later.created_time)
                END,
                CASE
                    WHEN former.transaction_id IS DISTINCT FROM later.transaction_id
                        THEN jsonb_build_array('transaction_id', former.transaction_id, later.transaction_id)
                END,
                CASE
                    WHEN former.counterparty_id IS DISTINCT FROM later.counterparty_id
                        THEN jsonb_build_array(
                                'counterparty_id', former.counterparty_id, later.counterparty_id
                            )
                END,
                CASE
                    WHEN former.payment_amount IS DISTINCT FROM later.payment_amount
                        THEN jsonb_build_array('payment_amount', former.payment_amount, later.payment_amount)
                END,
                CASE
                    WHEN former.currency_id IS DISTINCT FROM later.currency_id
                        THEN jsonb_build_array('currency_id', former.currency_id, later.currency_id)
                END,
                CASE
                    WHEN former.payment_type_id IS DISTINCT FROM later.payment_type_id
                        THEN jsonb_build_array(
                                'payment_type_id', former.payment_type_id, later.payment_type_id
                            )
                END,
                CASE
                    WHEN former.paid IS DISTINCT FROM later.paid
                        THEN jsonb_build_array('paid', former.paid, later.paid)
                END,
                CASE
                    WHEN former.payment_date IS DISTINCT FROM later.payment_date
                        THEN jsonb_build_array('payment_date', former.payment_date, later.payment_date)
                END
            ]
        ) AS changed (value)
    WHERE
        former.valid_to IS NOT NULL
        AND NOT former.deleted
        AND NOT later.deleted
        AND changed.value IS NOT NULL
),

dimension_versions AS (
    SELECT
        'dim_staff' AS table_name,
        CAST(later.staff_id AS text) AS key,
        former.valid_from AS previous_at,
        former.valid_to AS amended_at,
        former.deleted OR later.deleted AS is_deleted,
        to_jsonb(former) AS former_row,
        to_jsonb(later) AS later_row
    FROM dim_staff_history AS former
    INNER JOIN dim_staff_history AS later
        ON former.staff_id = later.staff_id AND former.valid_to = later.valid_from
    WHERE former.valid_to IS NOT NULL
    UNION ALL
    SELECT
        'dim_counterparty',
        CAST(later.counterparty_id AS text),
        former.valid_from,
        former.valid_to,
        former.deleted OR later.deleted,
        to_jsonb(former),
        to_jsonb(later)
    FROM dim_counterparty_history AS former
    INNER JOIN dim_counterparty_history AS later
        ON former.counterparty_id = later.counterparty_id AND former.valid_to = later.valid_from
    WHERE former.valid_to IS NOT NULL
    UNION ALL
    SELECT
        'dim_location',
        CAST(later.location_id AS text),
        former.valid_from,
        former.valid_to,
        former.deleted OR later.deleted,
        to_jsonb(former),
        to_jsonb(later)
    FROM dim_location_history AS former
    INNER JOIN dim_location_history AS later
        ON former.location_id = later.location_id AND former.valid_to = later.valid_from
    WHERE former.valid_to IS NOT NULL
    UNION ALL
    SELECT
        'dim_design',
        CAST(later.design_id AS text),
        former.valid_from,
        former.valid_to,
        former.deleted OR later.deleted,
        to_jsonb(former),
        to_jsonb(later)
    FROM dim_design_history AS former
    INNER JOIN dim_design_history AS later
        ON former.design_id = later.design_id AND former.valid_to = later.valid_from
    WHERE former.valid_to IS NOT NULL
    UNION ALL
    SELECT
        'dim_currency',
        CAST(later.currency_id AS text),
        former.valid_from,
        former.valid_to,
        former.deleted OR later.deleted,
        to_jsonb(former),
        to_jsonb(later)
    FROM dim_currency_history AS former
    INNER JOIN dim_currency_history AS later
        ON former.currency_id = later.currency_id AND former.valid_to = later.valid_from
    WHERE former.valid_to IS NOT NULL
    UNION ALL
    SELECT
        'dim_exchange_rate',
        CAST(later.rate_date AS text) || '/' || CAST(later.currency_id AS text),
        former.valid_from,
        former.valid_to,
        former.deleted OR later.deleted,
        to_jsonb(former),
        to_jsonb(later)
    FROM dim_exchange_rate_history AS former
    INNER JOIN dim_exchange_rate_history AS later
        ON
            former.rate_date = later.rate_date
            AND former.currency_id = later.currency_id
            AND former.valid_to = later.valid_from
    WHERE former.valid_to IS NOT NULL
    UNION ALL
    SELECT
        'dim_payment_type',
        CAST(later.payment_type_id AS text),
        former.valid_from,
        former.valid_to,
        former.deleted OR later.deleted,
        to_jsonb(former),
        to_jsonb(later)
    FROM dim_payment_type_history AS former
    INNER JOIN dim_payment_type_history AS later
        ON former.payment_type_id = later.payment_type_id AND former.valid_to = later.valid_from
    WHERE former.valid_to IS NOT NULL
    UNION ALL
    SELECT
        'dim_transaction',
        CAST(later.transaction_id AS text),
        former.valid_from,
        former.valid_to,
        former.deleted OR later.deleted,
        to_jsonb(former),
        to_jsonb(later)
    FROM dim_transaction_history AS former
    INNER JOIN dim_transaction_history AS later
        ON former.transaction_id = later.transaction_id AND former.valid_to = later.valid_from
    WHERE former.valid_to IS NOT NULL
),

changes AS (
    SELECT
        table_name,
        key,
        sales_order_id,
        purchase_order_id,
        transaction_id,
        change ->> 0 AS column_name,
        change ->> 1 AS old_value,
        change ->> 2 AS new_value,
        previous_at,
        amended_at,
        staff_id,
        counterparty_id,
        currency_id,
        created_date,
        amount_change,
        left_last_updated
    FROM fact_changes
    UNION ALL
    SELECT
        versions.table_name,
        versions.key,
        NULL,
        NULL,
        NULL,
        changed.column_name,
        versions.former_row ->> changed.column_name,
        versions.later_row ->> changed.column_name,
        versions.previous_at,
        versions.amended_at,
        NULL,
        NULL,
        NULL,
        NULL,
        NULL,
        NULL
    FROM dimension_versions AS versions
    CROSS JOIN LATERAL jsonb_each(versions.later_row) AS changed (column_name, new_value)
    WHERE
        NOT versions.is_deleted
        AND changed.new_value IS DISTINCT FROM versions.former_row -> changed.column_name
        AND changed.column_name NOT IN ('valid_from', 'valid_to', 'deleted')
)

SELECT
    changes.table_name,
    changes.key,
    -- A payment has its order by its transaction. As sub-SELECTs they cost nothing where they are not shown.
    COALESCE(
        changes.sales_order_id,
        (SELECT t.sales_order_id FROM dim_transaction AS t WHERE changes.transaction_id = t.transaction_id)
    ) AS sales_order_id,
    COALESCE(
        changes.purchase_order_id,
        (SELECT t.purchase_order_id FROM dim_transaction AS t WHERE changes.transaction_id = t.transaction_id)
    ) AS purchase_order_id,
    changes.column_name,
    changes.old_value,
    changes.new_value,
    changes.amended_at,
    changes.previous_at,
    changes.staff_id,
    staff.first_name || ' ' || staff.last_name AS staff_name,
    changes.counterparty_id,
    counterparties.counterparty_legal_name AS counterparty_name,
    currencies.currency_code,
    changes.amount_change,
    changes.amount_change * rates.rate AS amount_change_reporting,
    changes.left_last_updated
FROM changes
LEFT JOIN dim_staff AS staff ON changes.staff_id = staff.staff_id
LEFT JOIN dim_counterparty AS counterparties ON changes.counterparty_id = counterparties.counterparty_id
LEFT JOIN dim_currency AS currencies ON changes.currency_id = currencies.currency_id
LEFT JOIN exchange_rates AS rates
    ON changes.currency_id = rates.currency_id AND changes.created_date = rates.day
WHERE changes.amended_at <= (SELECT etl.looked_at()) AND (SELECT day FROM today) IS NOT NULL
