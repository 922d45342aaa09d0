-- The first design gets a number as its name.
UPDATE design
SET
    design_name = %(number)s::integer::text,
    last_updated = timestamp '2030-01-01' + %(number)s::integer * interval '1 millisecond'
WHERE design_id = (SELECT min(design_id) FROM design);
