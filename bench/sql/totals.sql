-- What has to be the same in every copy of the sales orders.
SELECT
    count(*) AS orders,
    sum(units_sold * unit_price) AS ordered,
    sum(agreed_delivery_date::date - date '2000-01-01') AS delivery_days,
    sum(design_id) AS designs
FROM {table};
