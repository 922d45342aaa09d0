-- A first version for every row that has none: what was there before versions were kept counts as valid
-- from before everything.
INSERT INTO {versions} (valid_from, {columns})
SELECT
    '-infinity',
    {columns}
FROM {table} AS t
WHERE NOT EXISTS (SELECT FROM {versions} AS s WHERE {same_key})
