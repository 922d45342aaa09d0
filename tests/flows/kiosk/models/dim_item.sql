-- One row an item.
SELECT
    item_id,
    label,
    price
FROM item
