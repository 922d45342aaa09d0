SELECT c.currency_code, count(*) AS orders, sum(o.units_sold * o.unit_price) AS sales
FROM fact_sales_order_current AS o
INNER JOIN dim_currency AS c ON o.currency_id = c.currency_id
GROUP BY c.currency_code
