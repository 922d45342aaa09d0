-- Insert a first version for each dimension row that has none, valid from -infinity.
-- Names: versions, columns, table, same_key.
INSERT INTO {versions} (valid_from, {columns})
SELECT
    '-infinity',
    {columns}
FROM {table} AS t
WHERE NOT EXISTS (SELECT FROM {versions} AS s WHERE {same_key})
