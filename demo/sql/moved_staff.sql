-- Where staff worked until a moment, and where since.
SELECT
    now.staff_id,
    now.first_name || ' ' || now.last_name AS name,
    now.department_name,
    before.location AS was,
    now.location AS is,
    now.valid_from
FROM dim_staff_history AS now
INNER JOIN dim_staff_history AS before ON before.staff_id = now.staff_id AND before.valid_to = now.valid_from
WHERE now.valid_from = %(at)s AND now.valid_to IS NULL AND now.staff_id = ANY(%(ids)s)
ORDER BY now.staff_id;
