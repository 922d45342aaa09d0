-- The warehouse of a release that kept dimensions' versions as JSON and did not say when a fact's ended.

CREATE SCHEMA etl;

-- What the pipeline keeps about itself, in the warehouse so that it commits with the data.
CREATE TABLE IF NOT EXISTS etl.batch (
    batch_id text PRIMARY KEY,
    previous_batch_id text REFERENCES etl.batch (batch_id),
    snapshot_at timestamptz NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    manifest text NOT NULL,
    reconcile boolean NOT NULL,
    rows jsonb NOT NULL
);
COMMENT ON TABLE etl.batch IS 'One row a batch in the warehouse; rows: counts by table.';

-- Two batches after the same one cannot both be loaded.
CREATE UNIQUE INDEX IF NOT EXISTS batch_follows ON etl.batch (COALESCE(previous_batch_id, ''));

CREATE TABLE IF NOT EXISTS etl.watermark (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    batch_id text NOT NULL REFERENCES etl.batch (batch_id),
    manifest text NOT NULL,
    snapshot_at timestamptz NOT NULL,
    source_xmin bigint NOT NULL,
    up_to_date_at timestamptz NOT NULL
);
COMMENT ON TABLE etl.watermark IS 'How far the warehouse is: its last batch, and when the source was last seen to hold nothing newer.';

CREATE TABLE IF NOT EXISTS etl.model (
    table_name text PRIMARY KEY,
    fingerprint text NOT NULL,
    batch_id text NOT NULL REFERENCES etl.batch (batch_id),
    result jsonb
);
ALTER TABLE etl.model ADD COLUMN IF NOT EXISTS result jsonb;
COMMENT ON TABLE etl.model IS 'The models that the warehouse''s tables were computed with, every row of them.';

CREATE TABLE IF NOT EXISTS etl.rejected (
    table_name text NOT NULL,
    key jsonb NOT NULL,
    reason text NOT NULL,
    "row" jsonb NOT NULL,
    waits boolean NOT NULL,
    first_batch text NOT NULL,
    last_batch text NOT NULL,
    resolved boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE etl.rejected IS 'Rejected rows, with the reason and all values.';
COMMENT ON COLUMN etl.rejected.waits IS 'Whether the row is retried with every batch, with the values that it had.';

CREATE UNIQUE INDEX IF NOT EXISTS rejected_open ON etl.rejected (table_name, key) WHERE NOT resolved;

CREATE TABLE IF NOT EXISTS etl.superseded (
    table_name text NOT NULL,
    key jsonb NOT NULL,
    superseded_at timestamptz NOT NULL,
    "row" jsonb NOT NULL,
    PRIMARY KEY (table_name, key, superseded_at)
);
COMMENT ON TABLE etl.superseded IS 'Earlier versions of dimension rows; the view <dimension>_history reads them.';


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

-- Every version of a dimension's rows. Names are filled in. valid_from is NULL for what
-- a row was when it first came.
CREATE OR REPLACE VIEW "public"."bridge_shop_street_history" AS
SELECT
    lag(valid_to) OVER (PARTITION BY key ORDER BY valid_to) AS valid_from,
    valid_to,
    (version)."shop_id", (version)."street_id"
FROM (
    SELECT key, superseded_at AS valid_to, jsonb_populate_record(NULL::"public"."bridge_shop_street", "row") AS version
    FROM etl.superseded
    WHERE table_name = 'bridge_shop_street'
    UNION ALL
    SELECT jsonb_object('{shop_id,street_id}'::text[], ARRAY[d."shop_id"::text, d."street_id"::text]::text[]), NULL::timestamptz, (d.*)::"public"."bridge_shop_street" AS version
    FROM "public"."bridge_shop_street" AS d
) AS versions;


-- Every version of a dimension's rows. Names are filled in. valid_from is NULL for what
-- a row was when it first came.
CREATE OR REPLACE VIEW "public"."dim_shop_history" AS
SELECT
    lag(valid_to) OVER (PARTITION BY key ORDER BY valid_to) AS valid_from,
    valid_to,
    (version)."shop_id", (version)."city", (version)."tags", (version)."opened"
FROM (
    SELECT key, superseded_at AS valid_to, jsonb_populate_record(NULL::"public"."dim_shop", "row") AS version
    FROM etl.superseded
    WHERE table_name = 'dim_shop'
    UNION ALL
    SELECT jsonb_object('{shop_id}'::text[], ARRAY[d."shop_id"::text]::text[]), NULL::timestamptz, (d.*)::"public"."dim_shop" AS version
    FROM "public"."dim_shop" AS d
) AS versions;


-- What a fact table gets beside the columns that its users know. Names are filled in.
-- Rows that were there before the pipeline came count as recorded before everything.
ALTER TABLE "public"."fact_sale" ADD COLUMN IF NOT EXISTS recorded_at timestamptz NOT NULL DEFAULT '-infinity';
ALTER TABLE "public"."fact_sale" ADD COLUMN IF NOT EXISTS deleted boolean NOT NULL DEFAULT false;
ALTER TABLE "public"."fact_sale" ALTER COLUMN recorded_at DROP DEFAULT;

CREATE UNIQUE INDEX IF NOT EXISTS "fact_sale_version" ON "public"."fact_sale" ("sale_id", recorded_at DESC);

CREATE OR REPLACE VIEW "public"."fact_sale_current" AS
SELECT "record_id", "sale_id", "shop_id", "amount", "note"
FROM (
    SELECT DISTINCT ON ("sale_id") *
    FROM "public"."fact_sale"
    ORDER BY "sale_id", recorded_at DESC
) AS latest
WHERE NOT deleted;

CREATE OR REPLACE VIEW "public"."fact_sale_history" AS
SELECT
    recorded_at AS valid_from,
    lead(recorded_at) OVER (PARTITION BY "sale_id" ORDER BY recorded_at) AS valid_to,
    deleted,
    "record_id", "sale_id", "shop_id", "amount", "note"
FROM "public"."fact_sale";


-- The operators in its body bear their schema, because it runs under its caller's search_path. To pin
-- that by SET would keep the planner from looking into it.
CREATE OR REPLACE FUNCTION "public"."fact_sale_as_of"(moment timestamptz) RETURNS SETOF "public"."fact_sale_current"
LANGUAGE sql STABLE
AS '-- The body of <fact>_as_of(moment): the rows as the warehouse knew them then.
SELECT "record_id", "sale_id", "shop_id", "amount", "note"
FROM (
    SELECT DISTINCT ON ("sale_id") *
    FROM "public"."fact_sale"
    WHERE recorded_at OPERATOR(pg_catalog.<=) $1 -- noqa: LT01
    ORDER BY "sale_id", recorded_at DESC
) AS latest
WHERE NOT deleted
'; -- noqa: PRS


INSERT INTO etl.batch (batch_id, previous_batch_id, snapshot_at, loaded_at, manifest, reconcile, rows) VALUES
('20261126T113844155091Z-00000006-00000002-1', NULL, '2026-11-26 11:38:44.155091+00', '2026-11-26 11:38:44.409483+00', '_manifests/after=nothing/20261126T113844155091Z-00000006-00000002-1.json', 'f', '{"dim_shop": {"read": 2, "added": 2, "changed": 0, "deleted": 0, "rejected": 0}, "fact_sale": {"read": 9, "added": 9, "changed": 0, "deleted": 0, "rejected": 0}, "bridge_shop_street": {"read": 3, "added": 3, "changed": 0, "deleted": 0, "rejected": 0}}'),
('20261126T113844454666Z-00000010-00000002-1', '20261126T113844155091Z-00000006-00000002-1', '2026-11-26 11:38:44.454666+00', '2026-11-26 11:38:44.922887+00', '_manifests/after=20261126T113844155091Z-00000006-00000002-1/20261126T113844454666Z-00000010-00000002-1.json', 'f', '{"dim_shop": {"read": 1, "added": 0, "changed": 1, "deleted": 0, "rejected": 0}, "fact_sale": {"read": 6, "added": 1, "changed": 3, "deleted": 1, "rejected": 2}, "bridge_shop_street": {"read": 0, "added": 0, "changed": 0, "deleted": 1, "rejected": 0}}'),
('20261126T113845015081Z-0000001C-00000002-1', '20261126T113844454666Z-00000010-00000002-1', '2026-11-26 11:38:45.015081+00', '2026-11-26 11:38:45.33259+00', '_manifests/after=20261126T113844454666Z-00000010-00000002-1/20261126T113845015081Z-0000001C-00000002-1.json', 'f', '{"dim_shop": {"read": 2, "added": 1, "changed": 1, "deleted": 0, "rejected": 0}, "fact_sale": {"read": 4, "added": 1, "changed": 3, "deleted": 0, "rejected": 0}, "bridge_shop_street": {"read": 1, "added": 1, "changed": 0, "deleted": 0, "rejected": 0}}');

INSERT INTO etl.watermark (singleton, batch_id, manifest, snapshot_at, source_xmin, up_to_date_at) VALUES
('t', '20261126T113845015081Z-0000001C-00000002-1', '_manifests/after=20261126T113844454666Z-00000010-00000002-1/20261126T113845015081Z-0000001C-00000002-1.json', '2026-11-26 11:38:45.015081+00', '787', '2026-11-26 11:38:45.015081+00');

INSERT INTO etl.model (table_name, fingerprint, batch_id, result) VALUES
('bridge_shop_street', '9bdae3aa99093c1f', '20261126T113845015081Z-0000001C-00000002-1', NULL),
('dim_shop', 'dec1db31b6961eb2', '20261126T113845015081Z-0000001C-00000002-1', NULL),
('fact_sale', 'c4ea30a4ede15254', '20261126T113845015081Z-0000001C-00000002-1', NULL);

INSERT INTO etl.rejected (table_name, key, reason, "row", waits, first_batch, last_batch, resolved) VALUES
('fact_sale', '{"sale_id": "12"}', 'amount is missing (NULL)', '{"note": "no amount", "amount": null, "sale_id": "12", "shop_id": "1"}', 'f', '20261126T113844454666Z-00000010-00000002-1', '20261126T113844454666Z-00000010-00000002-1', 't'),
('fact_sale', '{"sale_id": "11"}', 'shop_id is not in dim_shop', '{"note": "no such shop", "amount": "1.00", "sale_id": "11", "shop_id": "77"}', 't', '20261126T113844454666Z-00000010-00000002-1', '20261126T113845015081Z-0000001C-00000002-1', 'f');

INSERT INTO etl.superseded (table_name, key, superseded_at, "row") VALUES
('dim_shop', '{"shop_id": "1"}', '2026-11-26 11:38:44.454666+00', '{"city": "York", "tags": {"a": [1, 2]}, "opened": "2020-02-29T10:00:00+00:00", "shop_id": 1}'),
('bridge_shop_street', '{"shop_id": "1", "street_id": "11"}', '2026-11-26 11:38:44.454666+00', '{"shop_id": 1, "street_id": 11}'),
('dim_shop', '{"shop_id": "1"}', '2026-11-26 11:38:45.015081+00', '{"city": "Hull", "tags": {"a": [1, 2]}, "opened": "2020-02-29T10:00:00+00:00", "shop_id": 1}');

INSERT INTO dim_shop (shop_id, city, tags, opened) VALUES
('2', 'Bath', NULL, NULL),
('1', 'Leeds', '{"b": null}', '2020-02-29 10:00:00+00'),
('3', 'Ely', NULL, NULL);

INSERT INTO bridge_shop_street (shop_id, street_id) VALUES
('1', '10'),
('2', '20'),
('2', '21');

INSERT INTO fact_sale (record_id, sale_id, shop_id, amount, note, recorded_at, deleted) VALUES
('1', '1', '2', '1.50', 'sale 1', '2026-11-26 11:38:44.155091+00', 'f'),
('2', '2', '1', '3.00', 'sale 2', '2026-11-26 11:38:44.155091+00', 'f'),
('3', '3', '2', '4.50', 'sale 3', '2026-11-26 11:38:44.155091+00', 'f'),
('4', '4', '1', '6.00', 'sale 4', '2026-11-26 11:38:44.155091+00', 'f'),
('5', '5', '2', '7.50', 'sale 5', '2026-11-26 11:38:44.155091+00', 'f'),
('6', '6', '1', '9.00', 'sale 6', '2026-11-26 11:38:44.155091+00', 'f'),
('7', '7', '2', '10.50', 'sale 7', '2026-11-26 11:38:44.155091+00', 'f'),
('8', '8', '1', '12.00', 'sale 8', '2026-11-26 11:38:44.155091+00', 'f'),
('9', '9', '2', '13.50', 'sale 9', '2026-11-26 11:38:44.155091+00', 'f'),
('10', '1', '2', '2.50', 'sale 1', '2026-11-26 11:38:44.454666+00', 'f'),
('11', '2', '1', '4.00', 'sale 2', '2026-11-26 11:38:44.454666+00', 'f'),
('12', '3', '2', '5.50', 'sale 3', '2026-11-26 11:38:44.454666+00', 'f'),
('13', '10', '2', '7.00', NULL, '2026-11-26 11:38:44.454666+00', 'f'),
('14', '9', '2', '13.50', 'sale 9', '2026-11-26 11:38:44.454666+00', 't'),
('15', '1', '2', '100.00', 'sale 1', '2026-11-26 11:38:45.015081+00', 'f'),
('16', '10', '2', '100.00', NULL, '2026-11-26 11:38:45.015081+00', 'f'),
('17', '9', '1', '13.50', 'sale 9', '2026-11-26 11:38:45.015081+00', 'f'),
('18', '12', '1', '5.00', 'no amount', '2026-11-26 11:38:45.015081+00', 'f');

SELECT setval('fact_sale_record_id_seq', (SELECT max(record_id) FROM fact_sale));
