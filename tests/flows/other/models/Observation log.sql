-- One row a version of an observation, with the filter and the instrument as they were.
-- kind: fact
-- key: "Instrument Id", "Slot", "Taken At"
SELECT
    "Observation".instrument_id AS "Instrument Id",
    "Observation"."Slot",
    "Observation"."Taken At",
    "Observation".counts,
    "Observation".noise,
    filter.colour,
    filter.bandwidth,
    "Instrument"."Name" AS instrument_name,
    "Observation".remark
FROM "Observation"
INNER JOIN "Store room".filter
    ON "Observation".instrument_id = filter.instrument_id AND "Observation"."Slot" = filter."Slot"
INNER JOIN "Instrument" ON "Observation".instrument_id = "Instrument"."Id"
