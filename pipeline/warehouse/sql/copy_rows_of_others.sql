-- Copy the rows of a dimension that no batch may bring from the base batch on: those without a version, which
-- the pipeline did not load, those whose versions have all ended before, and earlier ones that a model keeps
-- although they have left its result.
-- Names: table, rebuilt, versions, same_key (a condition on t and s), columns, keeps_rows (whether the model
-- does). Binds: base.
INSERT INTO {rebuilt} ({columns})
OVERRIDING SYSTEM VALUE
SELECT {columns}
FROM {table} AS t
WHERE
    NOT EXISTS (
        SELECT FROM {versions} AS s WHERE {same_key} AND COALESCE(s.valid_to > %(base)s, true)
    )
    OR (
        {keeps_rows}
        AND EXISTS (
            SELECT FROM {versions} AS s
            WHERE {same_key} AND s.valid_from > '-infinity' AND s.valid_from < %(base)s
        )
    )
