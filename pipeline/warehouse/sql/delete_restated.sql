-- Delete the rows whose keys the rebuilt table lacks, apart from rows that the pipeline did not load.
-- Names: table, rebuilt, same_key (a condition on t and s), is_loaded (a condition on t).
DELETE FROM {table} AS t
WHERE NOT EXISTS (SELECT FROM {rebuilt} AS s WHERE {same_key}) AND {is_loaded}
