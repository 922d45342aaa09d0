-- Where staff worked until a moment, and where since.
SELECT
    s.staff_id,
    s.first_name || ' ' || s.last_name AS full_name,
    s.department_name,
    b.location AS location_before,
    s.location,
    s.valid_from
FROM dim_staff_history AS s
INNER JOIN dim_staff_history AS b ON s.staff_id = b.staff_id AND s.valid_from = b.valid_to
WHERE s.valid_from = %(at)s AND s.valid_to IS NULL AND s.staff_id = ANY(%(ids)s)
ORDER BY s.staff_id;
