-- Record which table holds a model's rows, and how many rows and versions it has.
-- Binds: batch (NULL keeps the last one), rows (NULL adds `added` to the last count), changes (the counter
-- that belongs to rows; where rows is NULL, it grows by what this transaction has changed in the same file),
-- added, versions (NULL adds `added_versions`), version_changes (like changes), added_versions, schema,
-- table.
UPDATE etl.model AS m
SET
    batch_id = COALESCE(%(batch)s, m.batch_id),
    table_oid = c.oid,
    filenode = c.relfilenode,
    etl_oid = 'etl.model'::regclass,
    version_oid = v.oid,
    version_filenode = v.relfilenode,
    column_numbers = jsonb_build_object(
        'table', (
            SELECT jsonb_object_agg(a.attname, a.attnum)
            FROM pg_attribute AS a
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped -- noqa: RF01
        ),
        'versions', (
            SELECT jsonb_object_agg(a.attname, a.attnum)
            FROM pg_attribute AS a
            WHERE a.attrelid = v.oid AND a.attnum > 0 AND NOT a.attisdropped -- noqa: RF01
        )
    ),
    row_count = COALESCE(%(rows)s, m.row_count + %(added)s),
    row_changes = CASE
        WHEN %(rows)s::bigint IS NOT NULL THEN %(changes)s
        WHEN c.oid = m.table_oid AND c.relfilenode = m.filenode
            THEN
                m.row_changes
                + pg_stat_get_xact_tuples_inserted(c.oid)
                + pg_stat_get_xact_tuples_deleted(c.oid)
    END,
    version_count = COALESCE(%(versions)s, m.version_count + %(added_versions)s),
    version_changes = CASE
        WHEN %(versions)s::bigint IS NOT NULL THEN %(version_changes)s
        WHEN v.oid = m.version_oid AND v.relfilenode = m.version_filenode
            THEN
                m.version_changes
                + pg_stat_get_xact_tuples_inserted(v.oid)
                + pg_stat_get_xact_tuples_deleted(v.oid)
    END
FROM pg_class AS c
INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
LEFT JOIN pg_class AS v ON n.oid = v.relnamespace AND c.relname || '_version' = v.relname AND v.relkind = 'r'
WHERE
    m.schema_name = %(schema)s
    AND m.table_name = %(table)s
    AND n.nspname = m.schema_name
    AND c.relname = m.table_name
