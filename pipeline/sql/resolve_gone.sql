-- What was rejected and is no longer in the source; this batch holds all of it.
UPDATE etl.rejected
SET resolved = true
WHERE table_name = %(table_name)s AND NOT resolved AND last_batch <> %(batch)s
