CREATE TABLE IF NOT EXISTS dim_item (
    item_id integer PRIMARY KEY,
    label text NOT NULL,
    price numeric(8, 2) NOT NULL
);

CREATE TABLE IF NOT EXISTS fact_sale (
    sale_record_id serial PRIMARY KEY,
    sale_id integer NOT NULL,
    item_id integer NOT NULL REFERENCES dim_item (item_id),
    sold_at timestamptz NOT NULL,
    pieces integer NOT NULL
);
