-- One row per design, with the present location of its file. Many designs share a name.
SELECT
    design_id,
    design_name,
    file_location,
    file_name
FROM design
