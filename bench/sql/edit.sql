-- An application edits a sales order.
UPDATE sales_order
SET
    units_sold = units_sold + 1,
    last_updated = (SELECT max(last_updated) FROM sales_order) + interval '1 minute'
WHERE sales_order_id = %(edited)s;
