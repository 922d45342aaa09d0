DO $$
BEGIN
    CREATE TYPE sky AS ENUM ('clear', 'half; covered', 'it''s "closed"');
EXCEPTION WHEN duplicate_object THEN NULL;
END
$$;

CREATE TABLE IF NOT EXISTS "dim_Instrument" (
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
    limit_magnitude numeric(6, 3),
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

CREATE TABLE IF NOT EXISTS dim_part (
    part_no bigint PRIMARY KEY,
    weight real,
    ordered_on date
);

CREATE TABLE IF NOT EXISTS "Observation log" (
    log_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    "Instrument Id" uuid NOT NULL REFERENCES "dim_Instrument" ("Id"),
    "Slot" smallint NOT NULL,
    "Taken At" timestamptz NOT NULL,
    counts bigint[] NOT NULL,
    noise numeric,
    colour text NOT NULL,
    bandwidth numeric NOT NULL,
    instrument_name text NOT NULL,
    remark text
);

CREATE TABLE IF NOT EXISTS fact_calibration (
    record_no serial PRIMARY KEY,
    entry_no bigint NOT NULL,
    instrument_id uuid NOT NULL REFERENCES "dim_Instrument" ("Id"),
    factor numeric NOT NULL,
    changed_at timestamptz NOT NULL
);
