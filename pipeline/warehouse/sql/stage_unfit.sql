CREATE TEMP TABLE unfit (key jsonb, reason text, "row" jsonb) ON COMMIT DROP
