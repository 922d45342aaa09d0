-- The first and the last day of a column of dates, as text, which can also be infinity.
-- Names: day, facts. Binds: none.
SELECT
    min({day})::text AS first_day,
    max({day})::text AS last_day
FROM {facts}
