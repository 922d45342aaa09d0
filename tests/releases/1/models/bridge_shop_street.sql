-- key: shop_id, street_id
SELECT shop_id, street_id FROM shop_street