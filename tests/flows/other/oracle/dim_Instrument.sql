SELECT * FROM "Observatory"."Instrument"
