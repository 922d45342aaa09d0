-- The id of this warehouse, which each manifest names.
CREATE TABLE etl.warehouse (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    warehouse_id uuid NOT NULL
);
COMMENT ON TABLE etl.warehouse IS 'The id of this warehouse; a dump that is restored elsewhere keeps it.';
