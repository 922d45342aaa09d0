-- The units of a sales order, in each of its rows.
SELECT units_sold
FROM {relation}
WHERE sales_order_id = %(order)s;
