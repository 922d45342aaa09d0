-- Of some facts, those of which a batch brought a version.
SELECT count(*) FROM {table}
WHERE {key} = ANY(%(ids)s) AND recorded_at = %(at)s AND deleted = %(gone)s;
