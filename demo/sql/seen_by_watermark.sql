-- How many of these rows a watermark on last_updated finds.
SELECT count(*) FROM {table}
WHERE {key} = ANY(%(ids)s) AND last_updated > %(watermark)s;
