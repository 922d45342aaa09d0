-- What analysts ask of orders: what each of the staff has sold in each month.
SELECT
    sales_staff_id,
    date_trunc('month', created_date) AS month,
    sum(units_sold * unit_price) AS ordered
FROM {relation} AS o
GROUP BY sales_staff_id, date_trunc('month', created_date);
