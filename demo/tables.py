"""The tables of the made-up shop, and how rows are copied into them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import psycopg
from psycopg import sql

from demo import made_up

# The columns of each table beside its key and its two timestamps.
COLUMNS = {
    "address": "address_line_1 address_line_2 district city postal_code country phone",
    "counterparty": ("counterparty_legal_name legal_address_id commercial_contact delivery_contact"),
    "currency": "currency_code",
    "department": "department_name location manager",
    "design": "design_name file_location file_name",
    "payment_type": "payment_type_name",
    "staff": "first_name last_name department_id email_address",
    "sales_order": (
        "design_id staff_id counterparty_id units_sold unit_price currency_id "
        "agreed_delivery_date agreed_payment_date agreed_delivery_location_id"
    ),
    "purchase_order": (
        "staff_id counterparty_id item_code item_quantity item_unit_price currency_id "
        "agreed_delivery_date agreed_payment_date agreed_delivery_location_id"
    ),
    "transaction": "transaction_type sales_order_id purchase_order_id",
    "payment": (
        "transaction_id counterparty_id payment_amount currency_id payment_type_id paid "
        "payment_date company_ac_number counterparty_ac_number"
    ),
}


def copy_rows(connection: psycopg.Connection, table: str, at: datetime, rows: Iterable[made_up.Row]) -> None:
    """Copy rows into a table, with keys from 1 and the same time."""
    with connection.cursor().copy(copy_into(table)) as copy:
        for number, row in enumerate(rows, start=1):
            copy.write_row((number, at, at, *row))


def copy_into(table: str) -> sql.Composed:
    """Return the COPY statement of a table: key, both timestamps, then its other columns."""
    names = [f"{table}_id", "created_at", "last_updated", *COLUMNS[table].split()]
    columns = sql.SQL(", ").join(map(sql.Identifier, names))
    return sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), columns)


def drop_references(connection: psycopg.Connection, references: Iterable[tuple[str, ...]]) -> None:
    """Drop foreign keys: table, name, column and referenced table."""
    statement = sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}")
    for table, name, _, _ in references:
        connection.execute(statement.format(sql.Identifier(table), sql.Identifier(name)))


def add_references(connection: psycopg.Connection, references: Iterable[tuple[str, ...]]) -> None:
    """Add the foreign keys again."""
    statement = sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} FOREIGN KEY ({}) REFERENCES {}")
    for names in references:
        connection.execute(statement.format(*map(sql.Identifier, names)))


def continue_ids(connection: psycopg.Connection) -> None:
    """Set the sequences of ids after the copied rows, and update the planner's statistics."""
    statement = sql.SQL("SELECT setval(pg_get_serial_sequence({}, {}), max({})) FROM {}")
    for table in COLUMNS:
        key, name = f"{table}_id", sql.Identifier(table)
        connection.execute(statement.format(sql.Literal(table), sql.Literal(key), sql.Identifier(key), name))
        connection.execute(sql.SQL("ANALYZE {}").format(name))
