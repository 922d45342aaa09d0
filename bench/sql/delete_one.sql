DELETE FROM sales_order
WHERE sales_order_id = %(deleted)s;
