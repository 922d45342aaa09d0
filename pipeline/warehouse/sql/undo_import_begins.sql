-- Let versions of the first batch that an import has continued begin with that batch again.
-- Names: relation (the table of versions), begins. Binds: base (the time of the first batch).
UPDATE {relation}
SET {begins} = %(base)s
WHERE {begins} > '-infinity' AND {begins} < %(base)s
