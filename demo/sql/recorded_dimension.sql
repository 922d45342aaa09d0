-- How many of these rows of a dimension a batch changed, or are new and present.
SELECT count(*) FROM {history}
WHERE
    {key} = ANY(%(ids)s)
    AND valid_to IS NULL
    AND (valid_from = %(at)s OR (%(new)s AND valid_from IS NULL));
