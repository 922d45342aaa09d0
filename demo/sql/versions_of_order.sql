-- The two latest versions of a sales order, the newer one first.
SELECT
    h.*,
    h.last_updated_date + h.last_updated_time AS last_updated,
    s.first_name || ' ' || s.last_name AS sold_by,
    c.counterparty_legal_name AS sold_to,
    u.currency_code
FROM fact_sales_order_history AS h
INNER JOIN dim_staff AS s ON h.sales_staff_id = s.staff_id
INNER JOIN dim_counterparty AS c ON h.counterparty_id = c.counterparty_id
INNER JOIN dim_currency AS u ON h.currency_id = u.currency_id
WHERE h.sales_order_id = %(id)s
ORDER BY h.valid_from DESC
LIMIT 2;
