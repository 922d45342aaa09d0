SELECT * FROM "Observatory"."Calibration View"
