CREATE TABLE IF NOT EXISTS dim_shop (
    shop_id integer PRIMARY KEY,
    city varchar(40) NOT NULL,
    tags jsonb,
    opened timestamptz
);
CREATE TABLE IF NOT EXISTS bridge_shop_street (
    shop_id integer NOT NULL REFERENCES dim_shop (shop_id),
    street_id integer NOT NULL,
    PRIMARY KEY (shop_id, street_id)
);
CREATE TABLE IF NOT EXISTS fact_sale (
    record_id serial PRIMARY KEY,
    sale_id integer NOT NULL,
    shop_id integer NOT NULL REFERENCES dim_shop (shop_id),
    amount numeric(10, 2) NOT NULL,
    note text
);