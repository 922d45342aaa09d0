-- Sales orders all over the table are deleted; those that the shop's transactions refer to stay.
DELETE FROM sales_order
WHERE
    sales_order_id IN (
        SELECT sales_order_id
        FROM sales_order
        WHERE sales_order_id > %(first)s AND mod(sales_order_id, %(one_in)s) = 0
        ORDER BY sales_order_id
        LIMIT %(rows)s
    );
