-- One row per purchase order that is not deleted. The columns can be summed as they say; count orders with
-- count(*).
-- columns:
-- purchase_order_id: the order
-- day: the day on which the order was placed
-- placed_at_time: the time of that day, in the source's time
-- staff_id: who placed the order
-- staff_name: first and last name; may not be unique
-- department_name: the present department of the member of staff, also for older orders
-- counterparty_id: the supplier
-- counterparty_name: legal name of the supplier
-- country: country of the supplier's legal address; that of delivery:
-- purchases_by_location.delivery_country
-- city: city of the supplier's legal address; that of delivery is delivery_city
-- location_id: where the order is to be delivered to
-- delivery_city: city of that location
-- item_code: the supplier's code of the item: seven capitals and digits
-- currency_code: ISO 4217 code of the currency; amounts of different currencies do not add up
-- units: units ordered; can be summed only within an item
-- unit_price: price of a unit; cannot be summed
-- amount: units times unit price; can be summed within a currency
-- amount_reporting: amount in the reporting currency, at the rate of the order's day; NULL without a rate
-- agreed_delivery_date: the day for which delivery is agreed; the actual one is not known
-- agreed_payment_date: the day on which the payment is due
WITH staff AS (
    -- DISTINCT ON tells Postgres that a join finds one row at most, so that it leaves out the joins that a
    -- query does not need.
    SELECT DISTINCT ON (staff_id)
        staff_id,
        concat(first_name, ' ', last_name) AS staff_name,
        department_name
    FROM dim_staff
    ORDER BY staff_id
),

counterparties AS (
    SELECT DISTINCT ON (counterparty_id)
        counterparty_id,
        counterparty_legal_name AS counterparty_name,
        counterparty_legal_country AS country,
        counterparty_legal_city AS city
    FROM dim_counterparty
    ORDER BY counterparty_id
),

locations AS (
    SELECT DISTINCT ON (location_id)
        location_id,
        city
    FROM dim_location
    ORDER BY location_id
),

currencies AS (
    SELECT DISTINCT ON (currency_id)
        currency_id,
        currency_code
    FROM dim_currency
    ORDER BY currency_id
)

SELECT
    orders.purchase_order_id,
    orders.created_date AS day,
    orders.created_time AS placed_at_time,
    orders.staff_id,
    staff.staff_name,
    staff.department_name,
    orders.counterparty_id,
    counterparties.counterparty_name,
    counterparties.country,
    counterparties.city,
    orders.agreed_delivery_location_id AS location_id,
    locations.city AS delivery_city,
    orders.item_code,
    currencies.currency_code,
    orders.item_quantity AS units,
    orders.item_unit_price AS unit_price,
    orders.item_quantity * orders.item_unit_price AS amount,
    orders.item_quantity * orders.item_unit_price * rates.rate AS amount_reporting,
    orders.agreed_delivery_date,
    orders.agreed_payment_date
FROM fact_purchase_order AS orders
LEFT JOIN staff ON orders.staff_id = staff.staff_id
LEFT JOIN counterparties ON orders.counterparty_id = counterparties.counterparty_id
LEFT JOIN locations ON orders.agreed_delivery_location_id = locations.location_id
LEFT JOIN currencies ON orders.currency_id = currencies.currency_id
LEFT JOIN exchange_rates AS rates
    ON orders.created_date = rates.day AND orders.currency_id = rates.currency_id
