-- The time of the newest sales order.
SELECT created_at FROM sales_order
ORDER BY sales_order_id DESC
LIMIT 1;
