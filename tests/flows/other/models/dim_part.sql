-- One row a spare part, of which there are none at first.
SELECT
    part_no,
    weight,
    ordered_on
FROM "Store room".spare_part
