-- The tables of the warehouse. This file runs when one of them is missing and when the file has changed, so
-- every statement must be repeatable. The pipeline adds the columns of versions to facts. The comments say
-- what each column means; the views beside a table have them, too.

CREATE TABLE IF NOT EXISTS dim_date (
    date_id date PRIMARY KEY,
    year integer NOT NULL,
    month integer NOT NULL,
    day integer NOT NULL,
    day_of_week integer NOT NULL,
    day_name varchar NOT NULL,
    month_name varchar NOT NULL,
    quarter integer NOT NULL
);

COMMENT ON COLUMN dim_date.date_id IS
'The day. Dates of facts refer to it.';
COMMENT ON COLUMN dim_date.year IS
'The calendar year, such as 2024.';
COMMENT ON COLUMN dim_date.month IS
'The month of the year, 1 to 12.';
COMMENT ON COLUMN dim_date.day IS
'The day of the month, 1 to 31.';
COMMENT ON COLUMN dim_date.day_of_week IS
'The day of the week by ISO 8601: 1 is Monday, 7 is Sunday.';
COMMENT ON COLUMN dim_date.day_name IS
'The English name of the day of the week, such as Monday.';
COMMENT ON COLUMN dim_date.month_name IS
'The English name of the month, such as January.';
COMMENT ON COLUMN dim_date.quarter IS
'The quarter of the calendar year, 1 to 4.';

CREATE TABLE IF NOT EXISTS dim_staff (
    staff_id integer PRIMARY KEY,
    first_name varchar NOT NULL,
    last_name varchar NOT NULL,
    department_name varchar NOT NULL,
    location varchar NOT NULL,
    email_address varchar NOT NULL
);

COMMENT ON COLUMN dim_staff.staff_id IS
'The number of the member of staff, from staff.staff_id.';
COMMENT ON COLUMN dim_staff.first_name IS
'The first name. Personal data.';
COMMENT ON COLUMN dim_staff.last_name IS
'The last name. Personal data.';
COMMENT ON COLUMN dim_staff.department_name IS
'The name of the department that the person is in now, from department.department_name.';
COMMENT ON COLUMN dim_staff.location IS
'Where that department is, from department.location.';
COMMENT ON COLUMN dim_staff.email_address IS
'The business e-mail address. Personal data.';

CREATE TABLE IF NOT EXISTS dim_location (
    location_id integer PRIMARY KEY,
    address_line_1 varchar NOT NULL,
    address_line_2 varchar,
    district varchar,
    city varchar NOT NULL,
    postal_code varchar NOT NULL,
    country varchar NOT NULL,
    phone varchar NOT NULL
);

COMMENT ON COLUMN dim_location.location_id IS
'The number of the address, from address.address_id. Orders refer to it by agreed_delivery_location_id.';
COMMENT ON COLUMN dim_location.address_line_1 IS
'The first line of the address. Personal data if it is somebody''s home.';
COMMENT ON COLUMN dim_location.address_line_2 IS
'The second line of the address; NULL if there is none.';
COMMENT ON COLUMN dim_location.district IS
'The district; NULL if there is none.';
COMMENT ON COLUMN dim_location.city IS
'The city.';
COMMENT ON COLUMN dim_location.postal_code IS
'The postal code as text, as it can begin with zeros.';
COMMENT ON COLUMN dim_location.country IS
'The English name of the country.';
COMMENT ON COLUMN dim_location.phone IS
'The phone number of the address as text.';

CREATE TABLE IF NOT EXISTS dim_currency (
    currency_id integer PRIMARY KEY,
    currency_code varchar NOT NULL,
    currency_name varchar NOT NULL
);

COMMENT ON COLUMN dim_currency.currency_id IS
'The number of the currency, from currency.currency_id.';
COMMENT ON COLUMN dim_currency.currency_code IS
'The code by ISO 4217, such as GBP. Amounts of different currencies do not add up.';
COMMENT ON COLUMN dim_currency.currency_name IS
'The English name by ISO 4217, such as Pound Sterling.';

CREATE TABLE IF NOT EXISTS dim_exchange_rate (
    rate_date date NOT NULL,
    currency_id integer NOT NULL REFERENCES dim_currency (currency_id),
    rate numeric(20, 10) NOT NULL CHECK (rate > 0),
    reporting_currency varchar NOT NULL,
    PRIMARY KEY (rate_date, currency_id)
);

COMMENT ON COLUMN dim_exchange_rate.rate_date IS
'The day from which the rate holds, until the currency''s next one.';
COMMENT ON COLUMN dim_exchange_rate.currency_id IS
'The currency that is converted, from currency.currency_id.';
COMMENT ON COLUMN dim_exchange_rate.rate IS
'Units of the reporting currency per unit of this currency. It cannot be summed.';
COMMENT ON COLUMN dim_exchange_rate.reporting_currency IS
'The ISO 4217 code of the currency that amounts are converted to.';

CREATE TABLE IF NOT EXISTS dim_design (
    design_id integer PRIMARY KEY,
    design_name varchar NOT NULL,
    file_location varchar NOT NULL,
    file_name varchar NOT NULL
);

COMMENT ON COLUMN dim_design.design_id IS
'The number of the design, from design.design_id. Group by it: many designs share a name.';
COMMENT ON COLUMN dim_design.design_name IS
'The name of the design. It does not identify a design: hundreds of designs share a few names.';
COMMENT ON COLUMN dim_design.file_location IS
'The folder of the design''s file.';
COMMENT ON COLUMN dim_design.file_name IS
'The name of the design''s file.';

CREATE TABLE IF NOT EXISTS dim_counterparty (
    counterparty_id integer PRIMARY KEY,
    counterparty_legal_name varchar NOT NULL,
    counterparty_legal_address_line_1 varchar NOT NULL,
    counterparty_legal_address_line_2 varchar,
    counterparty_legal_district varchar,
    counterparty_legal_city varchar NOT NULL,
    counterparty_legal_postal_code varchar NOT NULL,
    counterparty_legal_country varchar NOT NULL,
    counterparty_legal_phone_number varchar NOT NULL
);

COMMENT ON COLUMN dim_counterparty.counterparty_id IS
'The number of the customer or supplier, from counterparty.counterparty_id.';
COMMENT ON COLUMN dim_counterparty.counterparty_legal_name IS
'The legal name of the company. Personal data if it is a person''s.';
COMMENT ON COLUMN dim_counterparty.counterparty_legal_address_line_1 IS
'The first line of the present legal address.';
COMMENT ON COLUMN dim_counterparty.counterparty_legal_address_line_2 IS
'The second line of the legal address; NULL if there is none.';
COMMENT ON COLUMN dim_counterparty.counterparty_legal_district IS
'The district of the legal address; NULL if there is none.';
COMMENT ON COLUMN dim_counterparty.counterparty_legal_city IS
'The city of the legal address.';
COMMENT ON COLUMN dim_counterparty.counterparty_legal_postal_code IS
'The postal code of the legal address as text, as it can begin with zeros.';
COMMENT ON COLUMN dim_counterparty.counterparty_legal_country IS
'The English name of the country of the legal address.';
COMMENT ON COLUMN dim_counterparty.counterparty_legal_phone_number IS
'The phone number of the legal address as text.';

CREATE TABLE IF NOT EXISTS dim_payment_type (
    payment_type_id integer PRIMARY KEY,
    payment_type_name varchar NOT NULL
);

COMMENT ON COLUMN dim_payment_type.payment_type_id IS
'The number of the payment type, from payment_type.payment_type_id.';
COMMENT ON COLUMN dim_payment_type.payment_type_name IS
'SALES_RECEIPT (1) and SALES_REFUND (2) belong to sales orders, PURCHASE_PAYMENT (3) and PURCHASE_REFUND (4) to purchase orders.';

CREATE TABLE IF NOT EXISTS dim_transaction (
    transaction_id integer PRIMARY KEY,
    transaction_type varchar NOT NULL,
    sales_order_id integer,
    purchase_order_id integer
);

-- From an order to its payments.
CREATE INDEX IF NOT EXISTS dim_transaction_sales_order ON dim_transaction (sales_order_id);
CREATE INDEX IF NOT EXISTS dim_transaction_purchase_order ON dim_transaction (purchase_order_id);

COMMENT ON COLUMN dim_transaction.transaction_id IS
'The number of the transaction, from transaction.transaction_id. Payments refer to it: this table joins payments to their orders. A join by counterparty_id would pair every payment with every order of that company.';
COMMENT ON COLUMN dim_transaction.transaction_type IS
'SALE or PURCHASE.';
COMMENT ON COLUMN dim_transaction.sales_order_id IS
'The sales order, which is sales_order_id in fact_sales_order; NULL for a purchase.';
COMMENT ON COLUMN dim_transaction.purchase_order_id IS
'The purchase order, which is purchase_order_id in fact_purchase_order; NULL for a sale.';

CREATE TABLE IF NOT EXISTS fact_sales_order (
    sales_record_id serial PRIMARY KEY,
    sales_order_id integer NOT NULL,
    created_date date NOT NULL REFERENCES dim_date (date_id),
    created_time time NOT NULL,
    last_updated_date date NOT NULL REFERENCES dim_date (date_id),
    last_updated_time time NOT NULL,
    sales_staff_id integer NOT NULL REFERENCES dim_staff (staff_id),
    counterparty_id integer NOT NULL REFERENCES dim_counterparty (counterparty_id),
    units_sold integer NOT NULL,
    unit_price numeric(10, 2) NOT NULL,
    currency_id integer NOT NULL REFERENCES dim_currency (currency_id),
    design_id integer NOT NULL REFERENCES dim_design (design_id),
    agreed_payment_date date NOT NULL REFERENCES dim_date (date_id),
    agreed_delivery_date date NOT NULL REFERENCES dim_date (date_id),
    agreed_delivery_location_id integer NOT NULL REFERENCES dim_location (location_id)
);

-- Sales of a period are read from a part of the table: orders lie there in the order of their days.
CREATE INDEX IF NOT EXISTS fact_sales_order_created_date ON fact_sales_order
USING brin (created_date) WITH (pages_per_range = 32);

COMMENT ON COLUMN fact_sales_order.sales_record_id IS
'The number of the version in this warehouse. It means nothing in the shop.';
COMMENT ON COLUMN fact_sales_order.sales_order_id IS
'The number of the sales order, from sales_order.sales_order_id. Payments of it are found through dim_transaction.';
COMMENT ON COLUMN fact_sales_order.created_date IS
'The day on which the order was entered in the shop''s system; also its order date.';
COMMENT ON COLUMN fact_sales_order.created_time IS
'The time of day at which it was entered, in the source''s time.';
COMMENT ON COLUMN fact_sales_order.last_updated_date IS
'The day on which the source says that the order was last changed. Most changes of orders leave it as it was; recorded_at tells when a version came.';
COMMENT ON COLUMN fact_sales_order.last_updated_time IS
'The time of day of last_updated_date.';
COMMENT ON COLUMN fact_sales_order.sales_staff_id IS
'Who sold it.';
COMMENT ON COLUMN fact_sales_order.counterparty_id IS
'The customer.';
COMMENT ON COLUMN fact_sales_order.units_sold IS
'How many units were sold. It adds up, also over currencies.';
COMMENT ON COLUMN fact_sales_order.unit_price IS
'The price of one unit, in the order''s currency. It does not add up; units_sold * unit_price is the revenue, which adds up within one currency.';
COMMENT ON COLUMN fact_sales_order.currency_id IS
'The currency of unit_price.';
COMMENT ON COLUMN fact_sales_order.design_id IS
'The design that was sold.';
COMMENT ON COLUMN fact_sales_order.agreed_payment_date IS
'The day on which payment is due, as agreed.';
COMMENT ON COLUMN fact_sales_order.agreed_delivery_date IS
'The day of delivery, as agreed. The source does not say when an order was delivered.';
COMMENT ON COLUMN fact_sales_order.agreed_delivery_location_id IS
'Where it is delivered to, as agreed.';

CREATE TABLE IF NOT EXISTS fact_purchase_order (
    purchase_record_id serial PRIMARY KEY,
    purchase_order_id integer NOT NULL,
    created_date date NOT NULL REFERENCES dim_date (date_id),
    created_time time NOT NULL,
    last_updated_date date NOT NULL REFERENCES dim_date (date_id),
    last_updated_time time NOT NULL,
    staff_id integer NOT NULL REFERENCES dim_staff (staff_id),
    counterparty_id integer NOT NULL REFERENCES dim_counterparty (counterparty_id),
    item_code varchar NOT NULL,
    item_quantity integer NOT NULL,
    item_unit_price numeric NOT NULL,
    currency_id integer NOT NULL REFERENCES dim_currency (currency_id),
    agreed_delivery_date date NOT NULL REFERENCES dim_date (date_id),
    agreed_payment_date date NOT NULL REFERENCES dim_date (date_id),
    agreed_delivery_location_id integer NOT NULL REFERENCES dim_location (location_id)
);

COMMENT ON COLUMN fact_purchase_order.purchase_record_id IS
'The number of the version in this warehouse. It means nothing in the shop.';
COMMENT ON COLUMN fact_purchase_order.purchase_order_id IS
'The number of the purchase order, from purchase_order.purchase_order_id. Payments of it are found through dim_transaction.';
COMMENT ON COLUMN fact_purchase_order.created_date IS
'The day on which the order was entered in the shop''s system; also its order date.';
COMMENT ON COLUMN fact_purchase_order.created_time IS
'The time of day at which it was entered, in the source''s time.';
COMMENT ON COLUMN fact_purchase_order.last_updated_date IS
'The day on which the source says that the order was last changed. Most changes of orders leave it as it was; recorded_at tells when a version came.';
COMMENT ON COLUMN fact_purchase_order.last_updated_time IS
'The time of day of last_updated_date.';
COMMENT ON COLUMN fact_purchase_order.staff_id IS
'Who ordered it.';
COMMENT ON COLUMN fact_purchase_order.counterparty_id IS
'The supplier.';
COMMENT ON COLUMN fact_purchase_order.item_code IS
'The supplier''s code of the item: seven capitals and digits, as text.';
COMMENT ON COLUMN fact_purchase_order.item_quantity IS
'How many items were ordered. It adds up, also over currencies.';
COMMENT ON COLUMN fact_purchase_order.item_unit_price IS
'The price of one item, in the order''s currency. It does not add up; item_quantity * item_unit_price is the amount, which adds up within one currency.';
COMMENT ON COLUMN fact_purchase_order.currency_id IS
'The currency of item_unit_price.';
COMMENT ON COLUMN fact_purchase_order.agreed_delivery_date IS
'The day of delivery, as agreed. The source does not say when an order was delivered.';
COMMENT ON COLUMN fact_purchase_order.agreed_payment_date IS
'The day on which payment is due, as agreed.';
COMMENT ON COLUMN fact_purchase_order.agreed_delivery_location_id IS
'Where it is delivered to, as agreed.';

CREATE TABLE IF NOT EXISTS fact_payment (
    payment_record_id serial PRIMARY KEY,
    payment_id integer NOT NULL,
    created_date date NOT NULL REFERENCES dim_date (date_id),
    created_time time NOT NULL,
    last_updated_date date NOT NULL REFERENCES dim_date (date_id),
    last_updated_time time NOT NULL,
    transaction_id integer NOT NULL REFERENCES dim_transaction (transaction_id),
    counterparty_id integer NOT NULL REFERENCES dim_counterparty (counterparty_id),
    payment_amount numeric NOT NULL,
    currency_id integer NOT NULL REFERENCES dim_currency (currency_id),
    payment_type_id integer NOT NULL REFERENCES dim_payment_type (payment_type_id),
    paid boolean NOT NULL,
    payment_date date NOT NULL REFERENCES dim_date (date_id),
    -- The pipeline would add these, but an index below names them.
    recorded_at timestamptz NOT NULL,
    superseded_at timestamptz,
    deleted boolean NOT NULL DEFAULT false,
    committed_at timestamptz
);

CREATE INDEX IF NOT EXISTS fact_payment_transaction ON fact_payment (transaction_id);

-- Finds the payments that are longest overdue, and sums unpaid amounts up without reading the table. A table
-- of release 0.1 gets it with the next change of this file, as it has no superseded_at before.
DO $$
BEGIN
    IF EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = to_regclass('fact_payment') AND attname = 'superseded_at'
    ) THEN
        CREATE INDEX IF NOT EXISTS fact_payment_not_paid ON fact_payment (
            payment_date, payment_type_id, counterparty_id, currency_id
        ) INCLUDE (payment_amount, recorded_at, superseded_at, deleted) WHERE NOT paid;
        DROP INDEX IF EXISTS fact_payment_unpaid;
    END IF;
END
$$;

COMMENT ON COLUMN fact_payment.payment_record_id IS
'The number of the version in this warehouse. It means nothing in the shop.';
COMMENT ON COLUMN fact_payment.payment_id IS
'The number of the payment, from payment.payment_id.';
COMMENT ON COLUMN fact_payment.created_date IS
'The day on which the payment was entered in the shop''s system, together with its order.';
COMMENT ON COLUMN fact_payment.created_time IS
'The time of day at which it was entered, in the source''s time.';
COMMENT ON COLUMN fact_payment.last_updated_date IS
'The day on which the source says that the payment was last changed, such as when it became paid.';
COMMENT ON COLUMN fact_payment.last_updated_time IS
'The time of day of last_updated_date.';
COMMENT ON COLUMN fact_payment.transaction_id IS
'The transaction, by which dim_transaction leads to the order.';
COMMENT ON COLUMN fact_payment.counterparty_id IS
'The customer or supplier.';
COMMENT ON COLUMN fact_payment.payment_amount IS
'What is paid or to be paid, in the payment''s currency: the order''s quantity times its price. It adds up within one currency, sales (payment types 1 and 2) and purchases (3 and 4) apart.';
COMMENT ON COLUMN fact_payment.currency_id IS
'The currency of payment_amount.';
COMMENT ON COLUMN fact_payment.payment_type_id IS
'Whether it is a receipt, a payment or a refund.';
COMMENT ON COLUMN fact_payment.paid IS
'Whether it has been paid. The version in which it becomes true tells when, by last_updated_date or recorded_at.';
COMMENT ON COLUMN fact_payment.payment_date IS
'The day on which the payment is due: the order''s agreed_payment_date. It does not say when it was paid.';
