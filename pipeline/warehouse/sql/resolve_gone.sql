-- What was rejected and is no longer: this batch lists all that does not fit, and where it is complete
-- also all that Postgres refuses.
UPDATE etl.rejected
SET resolved = true
WHERE
    schema_name = %(schema)s
    AND table_name = %(table_name)s
    AND NOT resolved
    AND last_batch <> %(batch)s
    AND ({complete} OR NOT waits)
