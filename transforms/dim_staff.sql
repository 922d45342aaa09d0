-- One row per member of staff, with their present department.
-- personal: first_name, last_name, email_address, department.manager
SELECT
    staff.staff_id,
    staff.first_name,
    staff.last_name,
    department.department_name,
    department.location,
    staff.email_address
FROM staff
LEFT JOIN department ON staff.department_id = department.department_id
