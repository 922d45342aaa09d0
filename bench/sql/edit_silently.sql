-- Somebody edits a sales order by hand, without last_updated.
UPDATE sales_order
SET units_sold = units_sold + 1
WHERE sales_order_id = %(silent)s;
