-- One row an instrument, every column as it is.
SELECT * FROM "Instrument"
