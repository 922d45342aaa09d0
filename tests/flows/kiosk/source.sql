-- A kiosk: what it sells, and what it sold.
CREATE TABLE item (
    item_id integer PRIMARY KEY,
    label text NOT NULL,
    price numeric(8, 2) NOT NULL
);

CREATE TABLE sale (
    sale_id integer PRIMARY KEY,
    item_id integer NOT NULL,
    sold_at timestamptz NOT NULL,
    pieces integer
);

INSERT INTO item VALUES (1, 'newspaper', 2.80), (2, 'chewing gum', 0.95), (3, 'umbrella', 12.00);

INSERT INTO sale VALUES
(1, 1, '2026-01-05 07:31:00+00', 1),
(2, 2, '2026-01-05 07:32:10.123456+00', 2),
(3, 1, '2026-01-05 08:05:59+00', 1);
