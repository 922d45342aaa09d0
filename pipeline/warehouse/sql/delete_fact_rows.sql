-- Insert a last version, marked deleted, for each row of a fact whose key left the model's result.
-- Names: table_columns, heap, place, key, table, same_key, stage, restaged, model_columns.
-- Binds: at.
WITH deleted_rows AS MATERIALIZED (
    SELECT
        {table_columns},
        t.tableoid AS {heap},
        t.ctid AS {place}
    FROM (SELECT DISTINCT {key} FROM pg_temp.deleted_keys) AS s
    INNER JOIN {table} AS t ON {same_key} AND t.superseded_at IS NULL
    WHERE NOT t.deleted AND NOT EXISTS (SELECT FROM {stage} AS r WHERE {restaged})
    ORDER BY t.tableoid, t.ctid
),

ended AS (
    UPDATE {table} AS t
    SET superseded_at = %(at)s
    FROM deleted_rows AS s
    WHERE t.tableoid = s.{heap} AND t.ctid = s.{place}
)

INSERT INTO {table} ({model_columns}, recorded_at, deleted) OVERRIDING SYSTEM VALUE
SELECT
    {model_columns},
    %(at)s,
    true
FROM deleted_rows
