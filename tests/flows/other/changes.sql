-- What happens before the second run.
SET search_path TO "Observatory";

-- Two of the three observations that look this up get a new version; bandwidth stays equal.
UPDATE "Store room".filter SET colour = 'deep "red"', bandwidth = 10.5
WHERE "Slot" = 1 AND instrument_id = '0b9de7e4-4a4d-4f0e-9f5c-2f6b0c6a1d01';

-- An empty string becomes NULL and the other way round.
UPDATE "Observation" SET remark = NULLIF('x' || COALESCE(remark, ''), 'x')
WHERE "Slot" = 1 AND instrument_id = '0b9de7e4-4a4d-4f0e-9f5c-2f6b0c6a1d02';

INSERT INTO "Observation" VALUES
('0b9de7e4-4a4d-4f0e-9f5c-2f6b0c6a1d02', 1, '2026-03-29 01:30:00.5+00', '{-1,NULL}', 12345678901234567890.5, '🔭');

UPDATE "Instrument" SET
    "Name" = E'\\N\n',
    traits = '{"a": [1, 2.500, null]}',
    settings = '{"b":1,"a":2}',
    flat_field = '\x00ff11',
    tags = '{a,NULL}',
    focal_length = 0.1000000000000001,
    retires = 'infinity',
    label = ''
WHERE "Id" = '0b9de7e4-4a4d-4f0e-9f5c-2f6b0c6a1d01';
UPDATE "Instrument" SET label = NULL WHERE "Id" = '0b9de7e4-4a4d-4f0e-9f5c-2f6b0c6a1d02';

INSERT INTO "Store room".spare_part VALUES (-1, 0.3, 'infinity');

UPDATE calibration_entry SET factor = 1.001, changed_at = now() WHERE entry_no = 1;
INSERT INTO calibration_entry VALUES (3, '0b9de7e4-4a4d-4f0e-9f5c-2f6b0c6a1d03', 2, now());
