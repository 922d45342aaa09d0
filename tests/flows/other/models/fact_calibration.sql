-- One row a version of a calibration.
-- key: entry_no
-- cursor: "Calibration View".changed_at 1 minute
SELECT
    entry_no,
    instrument_id,
    factor,
    changed_at
FROM "Calibration View"
