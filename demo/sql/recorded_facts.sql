-- How many of these rows of a fact got a version in a batch.
SELECT count(*) FROM {table}
WHERE {key} = ANY(%(ids)s) AND recorded_at = %(at)s AND deleted = %(deleted)s;
