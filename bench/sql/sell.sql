-- Sales orders in the order of their times: on weekdays from a Monday on, from 8 to 19 o'clock.
WITH paced AS (
    SELECT
        order_id,
        -- Milliseconds that the shop has been open for since that Monday: 39,600,000 a day.
        (order_id - %(first)s) * %(days)s * 39600000::bigint / (1 + %(last)s - %(first)s) AS open_for
    FROM generate_series(%(first)s::bigint, %(last)s) AS order_id
),

dated AS (
    SELECT
        order_id,
        %(monday)s::date + (open_for / 39600000 + open_for / 198000000 * 2)::integer AS order_date,
        time '08:00' + mod(open_for, 39600000) * interval '1 millisecond' AS order_time
    FROM paced
)

INSERT INTO sales_order (
    sales_order_id, created_at, last_updated, design_id, staff_id, counterparty_id, units_sold, unit_price,
    currency_id, agreed_delivery_date, agreed_payment_date, agreed_delivery_location_id
)
SELECT
    order_id,
    order_date + order_time,
    order_date + order_time,
    1 + floor(random() * (SELECT max(design_id) FROM design)),
    1 + floor(random() * (SELECT max(staff_id) FROM staff)),
    1 + floor(random() * (SELECT max(counterparty_id) FROM counterparty)),
    1000 + floor(random() * 99001),
    0.01 * (200 + floor(random() * 201))::integer,
    1 + floor(random() * (SELECT max(currency_id) FROM currency)),
    -- Within a week; one in 33 late, by up to 624 days.
    order_date + CASE WHEN random() < 0.03 THEN 30 + random() * 594 ELSE 1 + random() * 6 END::integer,
    order_date + (random() * 5)::integer,
    1 + floor(random() * (SELECT max(address_id) FROM address))
FROM dated;
