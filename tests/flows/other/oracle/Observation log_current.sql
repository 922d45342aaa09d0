SELECT
    o.instrument_id AS "Instrument Id",
    o."Slot",
    o."Taken At",
    o.counts,
    o.noise,
    f.colour,
    f.bandwidth,
    i."Name" AS instrument_name,
    o.remark
FROM "Observatory"."Observation" AS o
INNER JOIN "Store room".filter AS f USING (instrument_id, "Slot")
INNER JOIN "Observatory"."Instrument" AS i ON o.instrument_id = i."Id"
