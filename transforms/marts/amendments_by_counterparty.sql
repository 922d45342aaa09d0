-- One row per counterparty, kind of order and currency: how often and by how much orders were amended after
-- they were first captured. Earlier changes are unknown.
-- columns:
-- counterparty_id: the orders' counterparty now
-- counterparty_name: legal name of the counterparty
-- kind: sale or purchase; amounts of the two do not add up
-- currency_code: ISO 4217 code of the currency; amounts of different currencies do not add up
-- orders: number of orders that are not deleted; can be summed
-- amended_orders: those with at least one changed value; can be summed
-- share_amended: amended_orders divided by orders; cannot be summed
-- changed_values: number of changed values; can be summed
-- amount_change: by how much the amounts of orders changed; can be summed within a currency; 0 if no amount
-- changed; without changes in which the currency changed, too
-- amount_change_reporting: the same in the reporting currency, at each day's rate; NULL if an amount
-- changed and its day has no rate
WITH changes AS (
    SELECT
        sales_order_id,
        purchase_order_id,
        count(*) AS changed_values,
        sum(amount_change) AS amount_change,
        sum(amount_change_reporting) AS amount_change_reporting,
        count(amount_change) - count(amount_change_reporting) AS without_rate
    FROM amendments
    WHERE table_name IN ('fact_sales_order', 'fact_purchase_order')
    GROUP BY sales_order_id, purchase_order_id
),

amended AS (
    SELECT
        'sale' AS kind,
        orders.counterparty_id,
        orders.currency_id,
        changes.changed_values,
        changes.amount_change,
        changes.amount_change_reporting,
        changes.without_rate
    FROM changes
    INNER JOIN fact_sales_order AS orders ON changes.sales_order_id = orders.sales_order_id
    UNION ALL
    SELECT
        'purchase' AS kind,
        orders.counterparty_id,
        orders.currency_id,
        changes.changed_values,
        changes.amount_change,
        changes.amount_change_reporting,
        changes.without_rate
    FROM changes
    INNER JOIN fact_purchase_order AS orders ON changes.purchase_order_id = orders.purchase_order_id
),

amended_totals AS (
    SELECT
        kind,
        counterparty_id,
        currency_id,
        count(*) AS amended_orders,
        sum(changed_values) AS changed_values,
        sum(amount_change) AS amount_change,
        sum(amount_change_reporting) AS amount_change_reporting,
        sum(without_rate) AS without_rate
    FROM amended
    GROUP BY kind, counterparty_id, currency_id
),

totals AS (
    SELECT
        'sale' AS kind,
        counterparty_id,
        currency_id,
        count(*) AS orders
    FROM fact_sales_order
    GROUP BY counterparty_id, currency_id
    UNION ALL
    SELECT
        'purchase' AS kind,
        counterparty_id,
        currency_id,
        count(*) AS orders
    FROM fact_purchase_order
    GROUP BY counterparty_id, currency_id
)

SELECT
    totals.counterparty_id,
    counterparties.counterparty_legal_name AS counterparty_name,
    totals.kind,
    currencies.currency_code,
    totals.orders,
    COALESCE(amended.amended_orders, 0) AS amended_orders,
    round(COALESCE(amended.amended_orders, 0) / CAST(totals.orders AS numeric), 4) AS share_amended,
    COALESCE(CAST(amended.changed_values AS bigint), 0) AS changed_values,
    COALESCE(amended.amount_change, 0) AS amount_change,
    CASE
        WHEN COALESCE(amended.without_rate, 0) = 0 THEN COALESCE(amended.amount_change_reporting, 0)
    END AS amount_change_reporting
FROM totals
LEFT JOIN amended_totals AS amended
    ON
        totals.kind = amended.kind
        AND totals.counterparty_id = amended.counterparty_id
        AND totals.currency_id = amended.currency_id
LEFT JOIN dim_counterparty AS counterparties ON totals.counterparty_id = counterparties.counterparty_id
LEFT JOIN dim_currency AS currencies ON totals.currency_id = currencies.currency_id
