-- One of the staff moves to another department: one row is written.
UPDATE staff
SET department_id = (SELECT max(department_id) + min(department_id) FROM department) - department_id
WHERE staff_id = (SELECT min(staff_id) FROM staff);
