-- The last sales orders, with their units.
SELECT
    sales_order_id,
    units_sold
FROM sales_order
ORDER BY sales_order_id DESC
LIMIT 3;
