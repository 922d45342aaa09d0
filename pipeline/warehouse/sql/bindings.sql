-- What etl.model records about a schema's tables, and whether the catalogue agrees.
-- Binds: schema, tables, few (tables with fewer rows or changes are always counted: Postgres loses its
-- counters when it crashes, and low ones may come to agree).
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
    COALESCE(m.etl_oid = 'etl.model'::regclass::oid, false) AS is_same_etl,
    pg_stat_get_tuples_inserted(c.oid) + pg_stat_get_tuples_deleted(c.oid) AS changes,
    COALESCE(
        c.relkind = 'r'
        -- The counters of tables that inherit from it are their own.
        AND NOT c.relhassubclass
        AND LEAST(m.row_count, m.row_changes) >= %(few)s
        AND m.row_changes = pg_stat_get_tuples_inserted(c.oid) + pg_stat_get_tuples_deleted(c.oid)
        AND current_setting('track_counts')::boolean
        -- Earlier versions send these counts by UDP.
        AND current_setting('server_version_num')::integer >= 150000,
        false
    ) AS has_same_changes,
    pg_stat_get_tuples_inserted(v.oid) + pg_stat_get_tuples_deleted(v.oid) AS version_changes,
    COALESCE(
        v.oid = m.version_oid
        AND v.relfilenode = m.version_filenode
        AND NOT v.relhassubclass
        AND LEAST(m.version_count, m.version_changes) >= %(few)s
        AND m.version_changes = pg_stat_get_tuples_inserted(v.oid) + pg_stat_get_tuples_deleted(v.oid)
        AND current_setting('track_counts')::boolean
        AND current_setting('server_version_num')::integer >= 150000,
        false
    ) AS has_same_version_changes
FROM etl.model AS m
INNER JOIN etl.watermark AS w ON m.schema_name = w.schema_name
LEFT JOIN pg_namespace AS n ON m.schema_name = n.nspname
LEFT JOIN pg_class AS c ON n.oid = c.relnamespace AND m.table_name = c.relname AND c.relkind IN ('r', 'p')
LEFT JOIN pg_class AS v
    ON n.oid = v.relnamespace AND m.table_name || '_version' = v.relname AND v.relkind = 'r'
WHERE m.schema_name = %(schema)s AND m.table_name = ANY(%(tables)s)
ORDER BY m.table_name
