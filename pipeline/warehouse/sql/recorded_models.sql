-- The texts of the models that tables were computed with, and the names that another column of a table, or of
-- its versions, has taken from one of its last load. A dump numbers the columns of a table anew: in their
-- order, and without those that were dropped.
-- Binds: schema.
WITH recorded AS (
    SELECT
        m.table_name,
        c.oid,
        r.name,
        a.attnum,
        CASE
            WHEN c.oid IN (m.table_oid, m.version_oid) THEN r.number::bigint
            ELSE row_number() OVER (PARTITION BY m.table_name, c.oid ORDER BY r.number::integer)
        END AS number,
        c.oid IN (m.table_oid, m.version_oid)
        OR bool_and(a.attnum IS NOT NULL) OVER (PARTITION BY m.table_name, c.oid) AS is_known
    FROM etl.model AS m
    INNER JOIN pg_namespace AS n ON m.schema_name = n.nspname
    INNER JOIN pg_class AS c
        ON n.oid = c.relnamespace AND c.relname IN (m.table_name, m.table_name || '_version')
    CROSS JOIN
        LATERAL jsonb_each_text(
            NULLIF(
                m.column_numbers -> CASE WHEN c.relname = m.table_name THEN 'table' ELSE 'versions' END,
                'null'
            )
        ) AS r (name, number)
    LEFT JOIN pg_attribute AS a ON c.oid = a.attrelid AND r.name = a.attname AND NOT a.attisdropped
    WHERE m.schema_name = %(schema)s
)

SELECT
    m.table_name,
    m.model_sql,
    array(
        SELECT lower(recorded.name)
        FROM recorded
        WHERE
            recorded.table_name = m.table_name
            AND recorded.is_known
            AND recorded.attnum <> recorded.number
    ) AS replaced
FROM etl.model AS m
WHERE m.schema_name = %(schema)s
