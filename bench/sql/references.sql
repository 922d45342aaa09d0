-- Whether the sales orders refer to another table, and Postgres has checked it.
SELECT count(*) > 0
FROM pg_constraint AS c
INNER JOIN pg_class AS t ON c.conrelid = t.oid
WHERE
    t.relname IN ('sales_order', 'fact_sales_order')
    AND t.relnamespace = %(schema)s::regnamespace
    AND c.contype = 'f'
    AND c.convalidated;
