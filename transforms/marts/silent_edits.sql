-- One row per changed value of an order or payment that left the source's last_updated as it was: what a
-- pipeline that follows last_updated would miss. An edit of several values has several rows: count edits by
-- count(DISTINCT (table_name, key, amended_at)). Edits that came and went between two batches are not seen.
-- Dimensions are not here, as it is not known whether their last_updated moved: amendments has their edits.
-- columns:
-- table_name: fact_sales_order, fact_purchase_order or fact_payment
-- key: the number of the order or payment, as text
-- sales_order_id: the sales order, also of its payment; NULL for a purchase
-- purchase_order_id: the purchase order, also of its payment; NULL for a sale
-- column_name: the column that changed
-- old_value: the value before, as text
-- new_value: the value after, as text
-- amended_at: the moment of the batch that first saw the new value
-- previous_at: since when the old version was known; -infinity: before the first batch
-- staff_id: the order's member of staff after the change, not who made it; NULL for payments
-- staff_name: first and last name; NULL for payments
-- counterparty_id: the order's or payment's counterparty
-- counterparty_name: legal name of the counterparty
-- currency_code: ISO 4217 code of the order or payment
-- amount_change: by how much the order's amount changed; NULL for other columns, or if its currency changed
-- amount_change_reporting: the same in the reporting currency, at the rate of the order's day
SELECT
    table_name,
    key,
    sales_order_id,
    purchase_order_id,
    column_name,
    old_value,
    new_value,
    amended_at,
    previous_at,
    staff_id,
    staff_name,
    counterparty_id,
    counterparty_name,
    currency_code,
    amount_change,
    amount_change_reporting
FROM amendments
WHERE left_last_updated
