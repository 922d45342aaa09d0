-- The first of the staff gets the same number as a name.
UPDATE staff
SET
    first_name = %(number)s::integer::text,
    last_updated = timestamp '2030-01-01' + %(number)s::integer * interval '1 millisecond'
WHERE staff_id = (SELECT min(staff_id) FROM staff);
