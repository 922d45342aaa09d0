-- Copy the rows of a dimension that no batch brings from the base batch on: those without a version, which
-- the pipeline did not load, and those whose versions have all ended before.
-- Names: table, rebuilt, versions, same_key (a condition on t and s), columns. Binds: base.
INSERT INTO {rebuilt} ({columns})
OVERRIDING SYSTEM VALUE
SELECT {columns}
FROM {table} AS t
WHERE
    NOT EXISTS (
        SELECT FROM {versions} AS s WHERE {same_key} AND COALESCE(s.valid_to > %(base)s, true)
    )
