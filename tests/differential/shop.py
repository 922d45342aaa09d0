"""Random edits of the tables of ``relations``, as applications make them."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal
from functools import partial
from random import Random

import psycopg
from psycopg import sql

_LETTERS = "abcdefghijklmnop"


def fill(connection: psycopg.Connection[tuple[object, ...]], random: Random) -> None:
    """Some rows in each table."""
    for _ in range(random.randrange(3, 15)):
        insert(connection, random)
        feed(connection, random)


def edit(connection: psycopg.Connection[tuple[object, ...]], random: Random, *, changes_keys: bool) -> None:
    """Run a few transactions; some are rolled back, completely or in part."""
    edits = [insert, insert, _update, _update, _delete, _move, _again, _rare, feed, feed]
    edits += [_other_key] if changes_keys else []
    for _ in range(random.randrange(0, 4)):
        with connection.transaction(force_rollback=random.random() < 0.15):
            for _ in range(random.randrange(1, 4)):
                with connection.transaction(force_rollback=random.random() < 0.1):
                    random.choice(edits)(connection, random)


def seed_rows(random: Random) -> list[tuple[int | None, int | None, str | None]]:
    """The rows of the seed."""
    return [(key, _number(random), _text(random)) for key in random.sample(range(10), random.randrange(5))]


def _number(random: Random) -> int | None:
    return None if random.random() < 0.15 else random.randrange(10)


def _amount(random: Random) -> Decimal | None:
    """A whole number with any number of zeros after the point: these make no difference."""
    number = _number(random)
    return None if number is None else Decimal(number).quantize(Decimal(1).scaleb(-random.randrange(3)))


def _text(random: Random) -> str | None:
    return None if random.random() < 0.15 else random.choice(_LETTERS)


def _some(random: Random) -> str:
    table = random.choice(["orders", "people", '"Store".orders', "log"])
    column = {"orders": "id", "people": "id", '"Store".orders': "shelf", "log": "number"}[table]
    return f"{table} WHERE {column} % {random.randrange(2, 6)} = {random.randrange(2)}"


def insert(connection: psycopg.Connection[tuple[object, ...]], random: Random) -> None:
    n, t = partial(_number, random), partial(_text, random)
    table = random.randrange(4)
    if table == 0:
        query = "INSERT INTO orders VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"
        connection.execute(query, (random.randrange(30), n(), _amount(random), n(), t()))
    elif table == 1:
        query = "INSERT INTO people VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"
        connection.execute(query, (random.randrange(12), n(), n(), t(), t()))
    elif table == 2:
        query = 'INSERT INTO "Store".orders VALUES (%s, %s, %s) ON CONFLICT DO NOTHING'
        connection.execute(query, (random.randrange(6), n(), random.choice(_LETTERS)))
    else:
        connection.execute("INSERT INTO log VALUES (%s, %s, %s)", (n(), n(), t()))


def _update(connection: psycopg.Connection[tuple[object, ...]], random: Random) -> None:
    table = random.randrange(4)
    row = random.randrange(20)
    if table == 0:
        column = random.choice(["person", "amount", "place"])
        value = _amount(random) if column == "amount" else _number(random)
        connection.execute(f"UPDATE orders SET {column} = %s WHERE id = %s", (value, row))
    elif table == 1:
        connection.execute("UPDATE people SET age = %s, town = %s WHERE id = %s",
                           (_number(random), _text(random), row % 12))  # fmt: skip
    elif table == 2:
        connection.execute(
            'UPDATE "Store".orders SET count = %s WHERE shelf = %s', (_number(random), row % 6)
        )
    else:
        connection.execute("UPDATE log SET message = %s WHERE number = %s", (_text(random), row % 10))


def _delete(connection: psycopg.Connection[tuple[object, ...]], random: Random) -> None:
    connection.execute(f"DELETE FROM {_some(random)}".encode())


def _move(connection: psycopg.Connection[tuple[object, ...]], random: Random) -> None:
    """Change a key."""
    old, new = random.randrange(20), random.randrange(30, 60)
    connection.execute(
        "UPDATE orders SET id = %s WHERE id = %s AND NOT EXISTS (SELECT FROM orders WHERE id = %s)",
        (new, old, new),
    )
    connection.execute(
        'UPDATE "Store".orders AS s SET item = %s WHERE shelf = %s AND item = %s'
        ' AND NOT EXISTS (SELECT FROM "Store".orders AS o WHERE o.shelf = s.shelf AND o.item = %s)',
        ("z", old % 6, random.choice(_LETTERS), "z"),
    )


def _again(connection: psycopg.Connection[tuple[object, ...]], random: Random) -> None:
    """Delete rows and insert them again, unchanged or not."""
    connection.execute(
        "WITH deleted AS (DELETE FROM orders WHERE id %% %s = 0 RETURNING *) SELECT count(*) FROM deleted",
        (random.randrange(2, 5),),
    )
    for row in range(0, 30, random.randrange(3, 9)):
        connection.execute("INSERT INTO orders VALUES (%s, 1, 2, 3, 'a') ON CONFLICT DO NOTHING", (row,))


def _rare(connection: psycopg.Connection[tuple[object, ...]], random: Random) -> None:
    if random.random() < 0.3:
        table = random.choice(["orders", "people", "log", '"Store".orders'])
        connection.execute(f"TRUNCATE {table}".encode())
    else:
        connection.execute("UPDATE people SET boss = 1 - boss")


def _other_key(connection: psycopg.Connection[tuple[object, ...]], random: Random) -> None:
    """Drop a table's primary key, and maybe add it again, or another one that the rows satisfy."""
    table, keys = random.choice(
        [("orders", ["id"]), ("people", ["id"]), ('"Store".orders', ["shelf, item", "item"])]
    )
    connection.execute(
        sql.SQL("ALTER TABLE {} DROP CONSTRAINT IF EXISTS {}").format(
            sql.SQL(table), sql.Identifier(f"{table.rpartition('.')[2]}_pkey")
        )
    )
    if random.random() < 0.7:
        with suppress(psycopg.errors.UniqueViolation), connection.transaction():
            connection.execute(f"ALTER TABLE {table} ADD PRIMARY KEY ({random.choice(keys)})".encode())


def feed(connection: psycopg.Connection[tuple[object, ...]], random: Random) -> None:
    """Change rows of the view with a cursor: with a higher version, a late one, or none; or delete some."""
    row, person, note = random.randrange(12), _number(random), _text(random)
    version = "(SELECT COALESCE(max(version), 0) + 1 FROM feed_row)"
    late = f"{version} - {random.randrange(1, 5)}"
    match random.randrange(8):
        case 0:
            query = "UPDATE feed_row SET person = %(person)s, note = %(note)s WHERE id = %(row)s"
        case 1:
            query = "DELETE FROM feed_row WHERE id %% 4 = %(row)s %% 4"
        case 2:
            query = "UPDATE feed_row SET version = NULL WHERE id = %(row)s"
        case number:
            query = (
                f"INSERT INTO feed_row VALUES (%(row)s, {late if number == 3 else version},"
                " %(person)s, %(note)s) ON CONFLICT (id) DO UPDATE SET"
                " version = excluded.version, person = excluded.person, note = excluded.note"
            )
    connection.execute(query.encode(), {"row": row, "person": person, "note": note})
