-- One row: the day that the marts show. It is the day (UTC) of the moment that etl.look_at has set, by
-- default of the source's state that the warehouse shows. Overdue days, quarters and lost customers count
-- from it.
-- columns:
-- day: the day that the marts show, in UTC; not the last day with data. If the data end earlier, payments
-- count as overdue and customers as lost all the same, and design_trends may have no rows
SELECT CAST(as_of AT TIME ZONE 'UTC' AS date) AS day
FROM freshness
-- The tables refuse a moment before the first batch, also if no row of theirs is wanted.
WHERE (SELECT count(*) FROM dim_currency) >= 0
