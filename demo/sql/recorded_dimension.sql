-- Of some rows of a dimension, those that a batch changed, or that are new and there.
SELECT count(*) FROM {history}
WHERE
    {key} = ANY(%(ids)s)
    AND valid_to IS NULL
    AND (valid_from = %(at)s OR (%(new)s AND valid_from IS NULL));
