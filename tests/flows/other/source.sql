-- An observatory: nothing in it is like the shop, and its names need quoting.
CREATE SCHEMA "Observatory";
-- Its tables are read from a schema that is not the main one.
CREATE SCHEMA "Store room";
SET search_path TO "Observatory";

CREATE TYPE sky AS ENUM ('clear', 'half; covered', 'it''s "closed"');
CREATE DOMAIN magnitude AS numeric(6, 3);

-- A value of each kind that a column can have.
CREATE TABLE "Instrument" (
    "Id" uuid PRIMARY KEY,
    "Name" text NOT NULL,
    "order" bigint NOT NULL,
    installed timestamptz NOT NULL,
    overhauled timestamp,
    retires date,
    opens time,
    opens_there timetz,
    exposure interval,
    drift numeric,
    price numeric(38, 10),
    limit_magnitude magnitude,
    focal_ratio real,
    focal_length double precision,
    channels smallint,
    tags text[],
    grid integer[][],
    traits jsonb,
    settings json,
    flat_field bytea,
    best_sky sky,
    address inet,
    band numrange,
    code char(4),
    label varchar(20),
    flags bit(5),
    remote boolean
);

INSERT INTO "Instrument" VALUES
(
    '0b9de7e4-4a4d-4f0e-9f5c-2f6b0c6a1d01', 'plain', 1, '2024-02-29 23:59:59.999999+00', '2024-02-29 12:00:00',
    '2031-12-31', '07:55:00.000001', '22:15:00+05:30', '1 year 2 mons 3 days 04:05:06.789', 1.5, 1.5, 12.345,
    0.1, 0.1, 3, '{a,b}', '{{1,2},{3,4}}', '{"a": [1, 2.50, null]}', '{"b" : 1,  "a":2}', '\x00ff10', 'clear',
    '10.1.2.0/24', '[1.1,2.2)', 'AB', 'label', B'10101', true
),
(
    '0b9de7e4-4a4d-4f0e-9f5c-2f6b0c6a1d02', E'two\nlines, \t"quotes", it''s \\ back, \\N, \\., 🔭 and é', 9223372036854775807,
    'infinity', 'infinity', 'infinity', '00:00:00', '00:00:00-12', '-00:00:00.000001',
    123456789012345678901234567890.1234567890123456789012345678901234567890, -0.0000000001, -999.999,
    'Infinity', 'NaN', -32768, '{"comma, and \"quote\"",NULL,"NULL","","\\N","new\nline"}', '{}',
    '"just \"text\" \u2028 and 🔭"', '[]', '\x', 'it''s "closed"', '::1', 'empty', '', '', B'00000', false
),
(
    '0b9de7e4-4a4d-4f0e-9f5c-2f6b0c6a1d03', '', -9223372036854775808, '-infinity', '-infinity', '-infinity',
    '23:59:59.999999', '24:00:00-08', '-178000000 years', 'NaN', 9999999999999999999999999999.9999999999, 0,
    '-0', 5e-324, 32767, '{}', '{{NULL,1}}', 'null', '{"deep": {"er": [{}]}}', '\x5c4e0a22', 'half; covered',
    'fe80::1/64', '(,)', 'ABCD', ' padded ', B'11111', null
),
(
    '0b9de7e4-4a4d-4f0e-9f5c-2f6b0c6a1d04', '\N', 0, '0044-03-15 12:00:00+00 BC', '0001-01-01 00:00:00', '4713-01-01 BC',
    '12:30:00', null, '@ 1 minute ago', '-Infinity', null, null, 1e-45, 1.7976931348623157e308, null, null, null,
    null, null, null, null, null, null, null, null, null, null
),
(
    '0b9de7e4-4a4d-4f0e-9f5c-2f6b0c6a1d05', 'NULL', 7, '20223-07-09 10:00:00+00', '9999-12-31 23:59:59.999999', '20223-07-09',
    '24:00:00', null, null, 0.00000000000000000000000000000000000000001, 0, null, null, -0.0, 0, '{NULL}', null, '{}',
    'null', '\xdeadbeef', null, '0.0.0.0', '[2,2]', '   x', E'\r\n', null, null
);

-- Looked up by every observation.
CREATE TABLE "Store room".filter (
    instrument_id uuid REFERENCES "Instrument",
    "Slot" smallint,
    colour text NOT NULL,
    bandwidth numeric NOT NULL,
    PRIMARY KEY (instrument_id, "Slot")
);

INSERT INTO "Store room".filter VALUES
('0b9de7e4-4a4d-4f0e-9f5c-2f6b0c6a1d01', 1, 'red', 10.50),
('0b9de7e4-4a4d-4f0e-9f5c-2f6b0c6a1d01', 2, 'blue', 7),
('0b9de7e4-4a4d-4f0e-9f5c-2f6b0c6a1d02', 1, 'none', 0.000);

-- A composite key, of a uuid, a name that has to be quoted, and a time.
CREATE TABLE "Observation" (
    instrument_id uuid,
    "Slot" smallint,
    "Taken At" timestamptz,
    counts bigint[] NOT NULL,
    noise numeric,
    remark text,
    PRIMARY KEY (instrument_id, "Slot", "Taken At")
);

INSERT INTO "Observation" VALUES
('0b9de7e4-4a4d-4f0e-9f5c-2f6b0c6a1d01', 1, '2026-01-01 20:00:00.000001+00', '{1,2,3}', 0.10, ''),
('0b9de7e4-4a4d-4f0e-9f5c-2f6b0c6a1d01', 1, '2026-01-01 20:00:00.000002+00', '{}', 0.1, null),
('0b9de7e4-4a4d-4f0e-9f5c-2f6b0c6a1d01', 2, '2026-01-01 20:00:00.000001+00', '{9223372036854775807}', 'NaN', '\N'),
('0b9de7e4-4a4d-4f0e-9f5c-2f6b0c6a1d02', 1, '2026-03-29 01:30:00+00', '{0}', null, E'line one\nline "two"\\');

CREATE TABLE "Store room".spare_part (
    part_no bigint PRIMARY KEY,
    weight real,
    ordered_on date
);

-- A view has no xmin: it is read by its cursor.
CREATE TABLE calibration_entry (
    entry_no bigint PRIMARY KEY,
    instrument_id uuid NOT NULL,
    factor numeric NOT NULL,
    changed_at timestamptz NOT NULL
);

INSERT INTO calibration_entry VALUES
(1, '0b9de7e4-4a4d-4f0e-9f5c-2f6b0c6a1d01', 1.000, '2026-01-01 10:00:00+00'),
(2, '0b9de7e4-4a4d-4f0e-9f5c-2f6b0c6a1d02', 0.250, '2026-01-02 10:00:00+00');

CREATE VIEW "Calibration View" AS
SELECT entry_no, instrument_id, factor, changed_at
FROM calibration_entry
WHERE factor > 0;
