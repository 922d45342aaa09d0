-- Of some rows, those that a look at last_updated would find.
SELECT count(*) FROM {table}
WHERE {key} = ANY(%(ids)s) AND last_updated > %(watermark)s;
