-- What etl.model records about a schema's tables, and whether the catalogue agrees.
-- Binds: schema, tables.
SELECT
    m.table_name,
    m.batch_id,
    w.batch_id AS loaded,
    m.row_count,
    m.version_count,
    c.oid IS NOT NULL AS is_there,
    v.oid IS NOT NULL AS has_versions,
    COALESCE(c.oid = m.table_oid, false) AS is_same_table,
    COALESCE(c.relfilenode = m.filenode, false) AS is_same_file,
    m.version_count IS NULL
    OR m.version_oid IS NULL
    OR COALESCE(v.oid = m.version_oid, false) AS has_same_versions,
    COALESCE(m.etl_oid = 'etl.model'::regclass::oid, false) AS is_same_etl
FROM etl.model AS m
INNER JOIN etl.watermark AS w ON m.schema_name = w.schema_name
LEFT JOIN pg_namespace AS n ON m.schema_name = n.nspname
LEFT JOIN pg_class AS c ON n.oid = c.relnamespace AND m.table_name = c.relname AND c.relkind IN ('r', 'p')
LEFT JOIN pg_class AS v
    ON n.oid = v.relnamespace AND m.table_name || '_version' = v.relname AND v.relkind = 'r'
WHERE m.schema_name = %(schema)s AND m.table_name = ANY(%(tables)s)
ORDER BY m.table_name
