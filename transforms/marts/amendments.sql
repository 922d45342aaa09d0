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
-- left_last_updated: true: the source's last_updated did not move; NULL for dimensions, where it is unknown
WITH versions AS (
    SELECT
        'fact_sales_order' AS table_name,
        CAST(later.sales_order_id AS text) AS key,
        later.sales_order_id,
        CAST(NULL AS integer) AS purchase_order_id,
        later.sales_staff_id AS staff_id,
        later.counterparty_id,
        later.currency_id,
        earlier.valid_from AS previous_at,
        later.valid_from AS amended_at,
        earlier.last_updated_date = later.last_updated_date
        AND earlier.last_updated_time = later.last_updated_time AS left_last_updated,
        CASE WHEN earlier.currency_id = later.currency_id
                THEN (later.units_sold - earlier.units_sold) * earlier.unit_price
        END AS change_by_units,
        CASE WHEN earlier.currency_id = later.currency_id
                THEN (later.unit_price - earlier.unit_price) * later.units_sold
        END AS change_by_price,
        to_jsonb(earlier) AS earlier_row,
        to_jsonb(later) AS later_row
    FROM fact_sales_order_history AS earlier
    INNER JOIN fact_sales_order_history AS later
        ON earlier.sales_order_id = later.sales_order_id AND earlier.valid_to = later.valid_from
    WHERE
        -- Tells Postgres that most versions have no end.
        earlier.valid_to IS NOT NULL
        AND earlier.valid_to <= (SELECT etl.looked_at())
        AND NOT earlier.deleted
        AND NOT later.deleted
    UNION ALL
    SELECT
        'fact_purchase_order',
        CAST(later.purchase_order_id AS text),
        NULL,
        later.purchase_order_id,
        later.staff_id,
        later.counterparty_id,
        later.currency_id,
        earlier.valid_from,
        later.valid_from,
        earlier.last_updated_date = later.last_updated_date
        AND earlier.last_updated_time = later.last_updated_time,
        CASE WHEN earlier.currency_id = later.currency_id
                THEN (later.item_quantity - earlier.item_quantity) * earlier.item_unit_price
        END,
        CASE WHEN earlier.currency_id = later.currency_id
                THEN (later.item_unit_price - earlier.item_unit_price) * later.item_quantity
        END,
        to_jsonb(earlier),
        to_jsonb(later)
    FROM fact_purchase_order_history AS earlier
    INNER JOIN fact_purchase_order_history AS later
        ON earlier.purchase_order_id = later.purchase_order_id AND earlier.valid_to = later.valid_from
    WHERE
        earlier.valid_to IS NOT NULL
        AND earlier.valid_to <= (SELECT etl.looked_at())
        AND NOT earlier.deleted
        AND NOT later.deleted
    UNION ALL
    SELECT
        'fact_payment',
        CAST(later.payment_id AS text),
        transactions.sales_order_id,
        transactions.purchase_order_id,
        NULL,
        later.counterparty_id,
        later.currency_id,
        earlier.valid_from,
        later.valid_from,
        earlier.last_updated_date = later.last_updated_date
        AND earlier.last_updated_time = later.last_updated_time,
        NULL,
        NULL,
        to_jsonb(earlier),
        to_jsonb(later)
    FROM fact_payment_history AS earlier
    INNER JOIN fact_payment_history AS later
        ON earlier.payment_id = later.payment_id AND earlier.valid_to = later.valid_from
    LEFT JOIN dim_transaction AS transactions ON later.transaction_id = transactions.transaction_id
    WHERE
        earlier.valid_to IS NOT NULL
        AND earlier.valid_to <= (SELECT etl.looked_at())
        AND NOT earlier.deleted
        AND NOT later.deleted
    UNION ALL
    SELECT
        'dim_staff',
        CAST(later.staff_id AS text),
        NULL,
        NULL,
        NULL,
        NULL,
        NULL,
        earlier.valid_from,
        later.valid_from,
        NULL,
        NULL,
        NULL,
        to_jsonb(earlier),
        to_jsonb(later)
    FROM dim_staff_history AS earlier
    INNER JOIN dim_staff_history AS later
        ON earlier.staff_id = later.staff_id AND earlier.valid_to = later.valid_from
    WHERE
        earlier.valid_to IS NOT NULL
        AND earlier.valid_to <= (SELECT etl.looked_at())
        AND NOT earlier.deleted
        AND NOT later.deleted
    UNION ALL
    SELECT
        'dim_counterparty',
        CAST(later.counterparty_id AS text),
        NULL,
        NULL,
        NULL,
        NULL,
        NULL,
        earlier.valid_from,
        later.valid_from,
        NULL,
        NULL,
        NULL,
        to_jsonb(earlier),
        to_jsonb(later)
    FROM dim_counterparty_history AS earlier
    INNER JOIN dim_counterparty_history AS later
        ON earlier.counterparty_id = later.counterparty_id AND earlier.valid_to = later.valid_from
    WHERE
        earlier.valid_to IS NOT NULL
        AND earlier.valid_to <= (SELECT etl.looked_at())
        AND NOT earlier.deleted
        AND NOT later.deleted
    UNION ALL
    SELECT
        'dim_location',
        CAST(later.location_id AS text),
        NULL,
        NULL,
        NULL,
        NULL,
        NULL,
        earlier.valid_from,
        later.valid_from,
        NULL,
        NULL,
        NULL,
        to_jsonb(earlier),
        to_jsonb(later)
    FROM dim_location_history AS earlier
    INNER JOIN dim_location_history AS later
        ON earlier.location_id = later.location_id AND earlier.valid_to = later.valid_from
    WHERE
        earlier.valid_to IS NOT NULL
        AND earlier.valid_to <= (SELECT etl.looked_at())
        AND NOT earlier.deleted
        AND NOT later.deleted
    UNION ALL
    SELECT
        'dim_design',
        CAST(later.design_id AS text),
        NULL,
        NULL,
        NULL,
        NULL,
        NULL,
        earlier.valid_from,
        later.valid_from,
        NULL,
        NULL,
        NULL,
        to_jsonb(earlier),
        to_jsonb(later)
    FROM dim_design_history AS earlier
    INNER JOIN dim_design_history AS later
        ON earlier.design_id = later.design_id AND earlier.valid_to = later.valid_from
    WHERE
        earlier.valid_to IS NOT NULL
        AND earlier.valid_to <= (SELECT etl.looked_at())
        AND NOT earlier.deleted
        AND NOT later.deleted
    UNION ALL
    SELECT
        'dim_currency',
        CAST(later.currency_id AS text),
        NULL,
        NULL,
        NULL,
        NULL,
        NULL,
        earlier.valid_from,
        later.valid_from,
        NULL,
        NULL,
        NULL,
        to_jsonb(earlier),
        to_jsonb(later)
    FROM dim_currency_history AS earlier
    INNER JOIN dim_currency_history AS later
        ON earlier.currency_id = later.currency_id AND earlier.valid_to = later.valid_from
    WHERE
        earlier.valid_to IS NOT NULL
        AND earlier.valid_to <= (SELECT etl.looked_at())
        AND NOT earlier.deleted
        AND NOT later.deleted
    UNION ALL
    SELECT
        'dim_exchange_rate',
        CAST(later.rate_date AS text) || '/' || CAST(later.currency_id AS text),
        NULL,
        NULL,
        NULL,
        NULL,
        NULL,
        earlier.valid_from,
        later.valid_from,
        NULL,
        NULL,
        NULL,
        to_jsonb(earlier),
        to_jsonb(later)
    FROM dim_exchange_rate_history AS earlier
    INNER JOIN dim_exchange_rate_history AS later
        ON earlier.rate_date = later.rate_date
            AND earlier.currency_id = later.currency_id
            AND earlier.valid_to = later.valid_from
    WHERE
        earlier.valid_to IS NOT NULL
        AND earlier.valid_to <= (SELECT etl.looked_at())
        AND NOT earlier.deleted
        AND NOT later.deleted
    UNION ALL
    SELECT
        'dim_payment_type',
        CAST(later.payment_type_id AS text),
        NULL,
        NULL,
        NULL,
        NULL,
        NULL,
        earlier.valid_from,
        later.valid_from,
        NULL,
        NULL,
        NULL,
        to_jsonb(earlier),
        to_jsonb(later)
    FROM dim_payment_type_history AS earlier
    INNER JOIN dim_payment_type_history AS later
        ON earlier.payment_type_id = later.payment_type_id AND earlier.valid_to = later.valid_from
    WHERE
        earlier.valid_to IS NOT NULL
        AND earlier.valid_to <= (SELECT etl.looked_at())
        AND NOT earlier.deleted
        AND NOT later.deleted
    UNION ALL
    SELECT
        'dim_transaction',
        CAST(later.transaction_id AS text),
        NULL,
        NULL,
        NULL,
        NULL,
        NULL,
        earlier.valid_from,
        later.valid_from,
        NULL,
        NULL,
        NULL,
        to_jsonb(earlier),
        to_jsonb(later)
    FROM dim_transaction_history AS earlier
    INNER JOIN dim_transaction_history AS later
        ON earlier.transaction_id = later.transaction_id AND earlier.valid_to = later.valid_from
    WHERE
        earlier.valid_to IS NOT NULL
        AND earlier.valid_to <= (SELECT etl.looked_at())
        AND NOT earlier.deleted
        AND NOT later.deleted
)

SELECT
    versions.table_name,
    versions.key,
    versions.sales_order_id,
    versions.purchase_order_id,
    changed.column_name,
    versions.earlier_row ->> changed.column_name AS old_value,
    versions.later_row ->> changed.column_name AS new_value,
    versions.amended_at,
    versions.previous_at,
    versions.staff_id,
    staff.first_name || ' ' || staff.last_name AS staff_name,
    versions.counterparty_id,
    counterparties.counterparty_legal_name AS counterparty_name,
    currencies.currency_code,
    CASE
        WHEN changed.column_name IN ('units_sold', 'item_quantity') THEN versions.change_by_units
        WHEN changed.column_name IN ('unit_price', 'item_unit_price') THEN versions.change_by_price
    END AS amount_change,
    versions.left_last_updated
FROM versions
CROSS JOIN LATERAL jsonb_each(versions.later_row) AS changed (column_name, new_value)
LEFT JOIN dim_staff AS staff ON versions.staff_id = staff.staff_id
LEFT JOIN dim_counterparty AS counterparties ON versions.counterparty_id = counterparties.counterparty_id
LEFT JOIN dim_currency AS currencies ON versions.currency_id = currencies.currency_id
WHERE
    (SELECT day FROM today) IS NOT NULL
    AND changed.new_value IS DISTINCT FROM versions.earlier_row -> changed.column_name
    AND changed.column_name NOT IN (
        'valid_from', 'valid_to', 'deleted', 'last_updated_date', 'last_updated_time',
        'sales_record_id', 'purchase_record_id', 'payment_record_id'
    )
