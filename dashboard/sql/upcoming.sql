-- The next deliveries.
-- Names: deliveries, today, condition, limited. Binds: what the condition binds.
SELECT *
FROM {deliveries}
WHERE agreed_delivery_date >= (SELECT day FROM {today}) AND {condition}
ORDER BY agreed_delivery_date, kind, order_id
LIMIT {limited}
