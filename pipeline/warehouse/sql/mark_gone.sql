-- A last version for every row of a fact whose key left the model's result.
WITH gone AS MATERIALIZED (
    SELECT
        {latest_columns},
        t.tableoid AS {heap},
        t.ctid AS {place}
    FROM (SELECT DISTINCT {key} FROM pg_temp.gone_keys) AS s
    INNER JOIN {table} AS t ON {same_key} AND t.superseded_at IS NULL
    WHERE NOT t.deleted AND NOT EXISTS (SELECT FROM {stage} AS r WHERE {restaged})
),

ended AS (
    UPDATE {table} AS t
    SET superseded_at = %(at)s
    FROM gone AS s
    WHERE t.tableoid = s.{heap} AND t.ctid = s.{place}
)

INSERT INTO {table} ({model_columns}, recorded_at, deleted) OVERRIDING SYSTEM VALUE
SELECT
    {model_columns},
    %(at)s,
    true
FROM gone
