-- One row per purchase order. item_quantity can be summed, item_unit_price
-- cannot, and neither can amounts of different currencies.
-- key: purchase_order_id
SELECT
    purchase_order_id,
    CAST(created_at AS DATE) AS created_date,
    CAST(created_at AS TIME) AS created_time,
    CAST(last_updated AS DATE) AS last_updated_date,
    CAST(last_updated AS TIME) AS last_updated_time,
    staff_id,
    counterparty_id,
    item_code,
    item_quantity,
    item_unit_price,
    currency_id,
    agreed_delivery_date,
    agreed_payment_date,
    agreed_delivery_location_id
FROM purchase_order
