SELECT * FROM "Observatory".spare_part
