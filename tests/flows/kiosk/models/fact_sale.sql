-- One row a version of a sale.
-- key: sale_id
SELECT
    sale_id,
    item_id,
    sold_at,
    pieces
FROM sale
