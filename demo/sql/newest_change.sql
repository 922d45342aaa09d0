-- What a watermark on last_updated would be after a run that sees the table as it is now.
SELECT max(last_updated) FROM {table};
