-- One row: which moment the views of this schema show, how old the warehouse is, and what it lacks.
-- columns:
-- as_of: The moment that is shown: the one that etl.look_at has set, otherwise the last one at which the
-- warehouse was up to date with the source; NULL before the first batch.
-- behind: How long ago the warehouse was last up to date with the source.
-- up_to_date_at: When the warehouse was last up to date with the source.
-- last_batch: The moment of the last batch that is shown. A run without changes in the source makes none.
-- first_batch: The moment of the first batch. Nothing is known of earlier ones, except what was imported.
-- rejected_rows: How many rows the warehouse could not take; the view rejected lists them.
-- rejected_tables: The tables that lack these rows; NULL if there are none.
-- Names: schema (a literal). Sub-SELECTs cost nothing where a query does not name their column.
SELECT
    CASE WHEN w.up_to_date_at IS NOT NULL THEN LEAST(etl.looked_at(), w.up_to_date_at) END AS as_of,
    now() - w.up_to_date_at AS behind,
    w.up_to_date_at,
    (
        SELECT max(b.snapshot_at)
        FROM etl.batch AS b
        WHERE b.schema_name = {schema} AND b.snapshot_at <= etl.looked_at()
    ) AS last_batch,
    (
        SELECT min(b.snapshot_at)
        FROM etl.batch AS b
        WHERE b.schema_name = {schema}
    ) AS first_batch,
    (
        SELECT count(*)
        FROM etl.rejected AS r
        WHERE r.schema_name = {schema} AND NOT r.resolved
    ) AS rejected_rows,
    (
        SELECT array_agg(DISTINCT r.table_name ORDER BY r.table_name)
        FROM etl.rejected AS r
        WHERE r.schema_name = {schema} AND NOT r.resolved
    ) AS rejected_tables
FROM (
    SELECT max(e.up_to_date_at) AS up_to_date_at
    FROM etl.watermark AS e
    WHERE e.schema_name = {schema}
) AS w
