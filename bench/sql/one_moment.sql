-- Whether the first design and the first of the staff have the same number, and one at all.
SELECT design_name = first_name AND first_name ~ '^[0-9]+$'
FROM (SELECT design_name FROM {designs} ORDER BY design_id LIMIT 1) AS d,
    (SELECT first_name FROM {staff} ORDER BY staff_id LIMIT 1) AS s;
