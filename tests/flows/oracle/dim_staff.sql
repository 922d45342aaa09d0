SELECT
    s.staff_id,
    s.first_name,
    s.last_name,
    d.department_name,
    d.location,
    s.email_address
FROM staff AS s
INNER JOIN department AS d ON s.department_id = d.department_id
