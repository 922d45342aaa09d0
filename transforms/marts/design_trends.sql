-- One row per design and currency with sales in this quarter or the last one. This quarter up to the day
-- shown is compared with as many days of the last quarter, so no row without sales in these days. For full
-- quarters, sum units and revenue of sales_by_design by its day.
-- question: Which designs fade? A design's name is not unique.
-- columns:
-- design_id: the design
-- design_name: not unique: many designs share a name
-- currency_code: ISO 4217 code of the currency; amounts of different currencies do not add up
-- quarter: the first day of this quarter
-- units: units sold in this quarter; can be summed
-- units_before: units sold in as many days of the last quarter
-- revenue: revenue of this quarter; can be summed within a currency
-- revenue_before: revenue of as many days of the last quarter
-- revenue_reporting: revenue in the reporting currency, at each day's rate; NULL if a day has no rate
-- revenue_reporting_before: the same of as many days of the last quarter; NULL if a day has no rate
-- change: revenue minus revenue_before; negative: the design fades
-- change_share: change divided by revenue_before; NULL if there was none
-- rank: place by revenue, not units, of this quarter within the currency; 1 is the top design
WITH quarters AS (
    SELECT
        day,
        CAST(date_trunc('quarter', CAST(day AS timestamp)) AS date) AS this_quarter,
        CAST(date_trunc('quarter', CAST(day AS timestamp)) - interval '3 months' AS date) AS last_quarter
    FROM today
),

days AS (
    SELECT
        sales.*,
        sales.day >= quarters.this_quarter AS is_new,
        quarters.this_quarter
    FROM sales_by_design AS sales
    CROSS JOIN quarters
    WHERE
        sales.day >= (SELECT first.last_quarter FROM quarters AS first)
        AND sales.day <= (SELECT last.day FROM quarters AS last)
        AND (
            sales.day >= quarters.this_quarter
            OR sales.day - quarters.last_quarter <= quarters.day - quarters.this_quarter
        )
),

totals AS (
    SELECT
        design_id,
        design_name,
        currency_code,
        this_quarter,
        COALESCE(CAST(sum(units) FILTER (WHERE is_new) AS bigint), 0) AS units,
        COALESCE(CAST(sum(units) FILTER (WHERE NOT is_new) AS bigint), 0) AS units_before,
        COALESCE(sum(revenue) FILTER (WHERE is_new), 0) AS revenue,
        COALESCE(sum(revenue) FILTER (WHERE NOT is_new), 0) AS revenue_before,
        COALESCE(sum(revenue_reporting) FILTER (WHERE is_new), 0) AS revenue_reporting,
        COALESCE(sum(revenue_reporting) FILTER (WHERE NOT is_new), 0) AS revenue_reporting_before,
        count(*) FILTER (WHERE is_new AND revenue_reporting IS NULL) AS days_without,
        count(*) FILTER (WHERE NOT is_new AND revenue_reporting IS NULL) AS days_without_before
    FROM days
    GROUP BY design_id, design_name, currency_code, this_quarter
)

SELECT
    design_id,
    design_name,
    currency_code,
    this_quarter AS quarter,
    units,
    units_before,
    revenue,
    revenue_before,
    CASE WHEN days_without = 0 THEN revenue_reporting END AS revenue_reporting,
    CASE WHEN days_without_before = 0 THEN revenue_reporting_before END AS revenue_reporting_before,
    revenue - revenue_before AS change,
    round((revenue - revenue_before) / NULLIF(revenue_before, 0), 4) AS change_share,
    rank() OVER (PARTITION BY currency_code ORDER BY revenue DESC) AS rank
FROM totals
