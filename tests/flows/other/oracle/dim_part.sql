SELECT * FROM "Store room".spare_part
