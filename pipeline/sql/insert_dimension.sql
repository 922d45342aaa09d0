INSERT INTO {table} ({columns})
SELECT {staged_columns}
FROM {stage} AS s
WHERE NOT EXISTS (SELECT FROM {table} AS t WHERE {same_key})
