-- key: sale_id
SELECT sale_id, shop_id, amount, note FROM sale