SELECT sales_order_id, agreed_delivery_date
FROM fact_sales_order_as_of({before})
WHERE sales_order_id IN ({keys})
