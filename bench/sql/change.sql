-- One of so many sales orders is changed, all over the table and each at a moment of its own.
UPDATE sales_order
SET
    units_sold = units_sold + 1,
    last_updated = %(at)s::timestamp + sales_order_id / %(one_in)s * interval '1 millisecond'
WHERE mod(sales_order_id, %(one_in)s) = %(which)s;
