CREATE TEMP TABLE rows_that_do_not_fit (key jsonb, reason text, "row" jsonb) ON COMMIT DROP
