"""A source with features that Totesys lacks, models over it, and random edits.

Domains over domains, enums and arrays of them, inheritance, partitions that are attached and detached,
references of a table to itself, a wide table, names in mixed case and reserved ones, a table without a key,
generated columns, composite keys, char(n), times without a zone, json.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random

import psycopg

from tests.pair import Pair

Edit = Callable[[Random], str]
_WIDE = 120
TYPES = """
    CREATE TYPE mood AS ENUM ('sad', 'ok', 'glad');
    CREATE DOMAIN price AS numeric(10, 2);
    CREATE DOMAIN fee AS price CHECK (VALUE >= 0);
    CREATE DOMAIN feeling AS mood;
"""
SOURCE = f"""
    {TYPES}
    CREATE TABLE member (
        id int PRIMARY KEY, boss int REFERENCES member DEFERRABLE INITIALLY DEFERRED, name text NOT NULL,
        feels feeling, moods mood[], code char(6), fee fee,
        twice numeric GENERATED ALWAYS AS (fee * 2) STORED
    );
    CREATE TABLE event (
        id int, happened_on date, noted_at timestamp, doc jsonb, PRIMARY KEY (happened_on, id)
    )
        PARTITION BY RANGE (happened_on);
    CREATE TABLE event_1 PARTITION OF event FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
    CREATE TABLE event_2 PARTITION OF event FOR VALUES FROM ('2024-02-01') TO ('2024-03-01');
    CREATE TABLE thing (id int PRIMARY KEY, name text);
    CREATE TABLE gadget (volts int, PRIMARY KEY (id)) INHERITS (thing);
    CREATE TABLE "Order" ("order" int, "Position" int, "select" text, PRIMARY KEY ("Position", "order"));
    CREATE TABLE note (word varchar(10), noted_at timestamp DEFAULT '2024-01-01');
    CREATE TABLE wide (id int PRIMARY KEY, {", ".join(f"c{number} int" for number in range(_WIDE))});
"""
_NUMBERS = ", ".join(f"c{number}" for number in range(_WIDE))
# The expected rows of each warehouse table, in SQL that means the same in Postgres and DuckDB.
QUERIES = {
    "dim_member": "SELECT id, boss, name, feels, moods, code, fee, twice FROM member",
    "fact_event": "SELECT id, happened_on, noted_at, doc FROM event",
    "fact_boss": """
        SELECT m.id, b.name AS boss, b.code FROM member AS m LEFT JOIN member AS b ON m.boss = b.id
    """,
    "fact_thing": "SELECT id, name FROM thing",
    "fact_line": 'SELECT "order", "Position", "select" FROM "Order"',
    "fact_order": 'SELECT "order", count(*) AS lines FROM "Order" GROUP BY "order"',
    "dim_note": """
        SELECT word, count(*) AS times, max(noted_at) AS newest FROM note WHERE word IS NOT NULL GROUP BY word
    """,
    "fact_wide": f"SELECT id, {_NUMBERS} FROM wide",
}
_KEYS = {
    "fact_event": "happened_on, id",
    "fact_line": '"Position", "order"',
    "fact_order": '"order"',
    "dim_note": "word",
}
_WAREHOUSE = f"""
    CREATE TABLE IF NOT EXISTS dim_member (
        id int PRIMARY KEY, boss int REFERENCES dim_member, name text, feels feeling, moods mood[],
        code char(6), fee fee, twice numeric
    );
    CREATE TABLE IF NOT EXISTS fact_event (id int, happened_on date, noted_at timestamp, doc jsonb);
    CREATE TABLE IF NOT EXISTS fact_boss (id int, boss text, code char(6));
    CREATE TABLE IF NOT EXISTS fact_thing (id int, name text);
    CREATE TABLE IF NOT EXISTS fact_line ("order" int, "Position" int, "select" text);
    CREATE TABLE IF NOT EXISTS fact_order ("order" int, lines bigint);
    CREATE TABLE IF NOT EXISTS dim_note (word varchar(10) PRIMARY KEY, times bigint, newest timestamp);
    CREATE TABLE IF NOT EXISTS fact_wide (id int, {_NUMBERS.replace(",", " int,")} int);
"""


def models() -> dict[str, str]:
    """The files of its models and of their schema."""
    keys = {name: _KEYS.get(name, "id") for name in QUERIES}
    return {name: f"-- key: {keys[name]}\n{query.strip()}" for name, query in QUERIES.items()} | {
        "schema": _WAREHOUSE
    }


def key_of(name: str) -> list[str]:
    """The columns of a table's key."""
    return [column.strip('"') for column in _KEYS.get(name, "id").split(", ")]


class Habits:
    """The source and its warehouse."""

    def __init__(self, pair: Pair, random: Random) -> None:
        self.pair, self.random = pair, random
        pair.fresh(models(), SOURCE)
        with psycopg.connect(pair.house.url, autocommit=True) as connection:
            connection.execute(TYPES.encode())
        self.edit(30)

    def run(self) -> None:
        """Run the pipeline; a tenth of the runs reconcile."""
        self.pair.run(reconcile=self.random.random() < 0.1, max_rejected_share=1, max_deleted_share=1)

    def differences(self) -> list[str]:
        """The tables that differ from their SELECT on the source, and rejected rows."""
        actual = [str(rejected) for rejected in self.pair.house.rejected()]
        for name, query in QUERIES.items():
            present = f"{name}_current"
            if name.startswith("dim_"):
                present = f"{name}_history WHERE valid_to IS NULL"
            expected = self.pair.source(f"SELECT o::text FROM ({query}) AS o ORDER BY 1")
            columns = ", ".join(self._columns(query))
            ours = self.pair.house.query(
                f"SELECT o::text FROM (SELECT {columns} FROM {present}) AS o ORDER BY 1"
            )
            if ours != expected:
                more, less = set(ours) - set(expected), set(expected) - set(ours)
                actual.append(f"{name}: unexpected {sorted(more)[:3]}, missing {sorted(less)[:3]}")
        return actual

    def _columns(self, query: str) -> list[str]:
        with psycopg.connect(self.pair.source_url) as connection:
            described = connection.execute(f"SELECT * FROM ({query}) AS o LIMIT 0".encode()).description
        return [f'"{column.name}"' for column in described or []]

    def edit(self, times: int = 6) -> None:
        """Edit the source."""
        edit(self.pair.source_url, self.random, times)


def edit(url: str, random: Random, times: int, kinds: Sequence[Edit] = ()) -> int:
    """Run some edits, each in a transaction; some are rolled back, and some fail.

    An edit that would wait for a run is given up. Returns how many succeeded.
    """
    done = 0
    with psycopg.connect(url, autocommit=True, options="-c lock_timeout=1s") as connection:
        for _ in range(times):
            statement = random.choice(kinds or [*COMMON, *COMMON, *COMMON, *RARE])(random)
            with (
                suppress(psycopg.IntegrityError, psycopg.ProgrammingError, psycopg.errors.LockNotAvailable),
                connection.transaction(force_rollback=random.random() < 0.1),
            ):
                connection.execute(statement.encode())
                done += 1
    return done


def _id(random: Random) -> int:
    return random.randrange(12)


def _member(random: Random) -> str:
    boss, mood = random.choice(["NULL", str(_id(random))]), random.choice(["sad", "ok", "glad"])
    return (
        f"INSERT INTO member VALUES ({_id(random)}, {boss}, 'n{_id(random)}', '{mood}',"
        f" ARRAY['{mood}', NULL]::mood[], 'c{_id(random)}', {_id(random)}.5)"
        " ON CONFLICT (id) DO UPDATE SET name = excluded.name, boss = excluded.boss, feels = excluded.feels"
    )


def _event(random: Random) -> str:
    day = f"2024-0{random.choice([1, 2])}-{random.randrange(1, 29):02}"
    return (
        f"INSERT INTO event VALUES ({_id(random)}, '{day}', '{day} 12:00:00.{_id(random)}',"
        f""" '{{"a": [1.50, {_id(random)}]}}') ON CONFLICT DO NOTHING"""
    )


def _thing(random: Random) -> str:
    """Insert into a table or one that inherits from it; together they have no key."""
    number, table = _id(random), random.choice(["thing", "gadget"])
    return (
        f"INSERT INTO {table} (id, name) SELECT {number}, 't{_id(random)}'"
        f" WHERE NOT EXISTS (SELECT FROM thing WHERE id = {number})"
        f" AND NOT EXISTS (SELECT FROM gadget WHERE id = {number})"
    )


COMMON: list[Edit] = [
    _member,
    _event,
    lambda r: f"UPDATE member SET boss = {_id(r)}, code = 'x' WHERE id = {_id(r)}",
    lambda r: f"UPDATE event SET happened_on = happened_on + {r.randrange(-20, 20)} WHERE id = {_id(r)}",
    _thing,
    lambda r: f"""INSERT INTO "Order" VALUES ({_id(r)}, {_id(r)}, 's{_id(r)}') ON CONFLICT DO NOTHING""",
    lambda r: f"INSERT INTO note VALUES ('w{r.randrange(4)}', '2024-01-0{r.randrange(1, 9)}')",
    lambda r: (
        f"INSERT INTO wide (id, c{_id(r)}) VALUES ({_id(r)}, {_id(r)})"
        f" ON CONFLICT (id) DO UPDATE SET c{r.randrange(_WIDE)} = {_id(r)}"
    ),
    lambda r: f"UPDATE thing SET name = 'u{_id(r)}' WHERE id = {_id(r)}",
]
DELETIONS: list[Edit] = [
    lambda r: (
        f"DELETE FROM {r.choice(['event', 'thing', 'gadget', 'note', 'wide', 'member'])}"
        + r.choice(["", f" WHERE ctid = '(0,{_id(r)})'"])
    ),
    lambda r: f"""DELETE FROM "Order" WHERE "order" = {_id(r)}""",
]
RARE: list[Edit] = [
    *DELETIONS,
    lambda r: f"TRUNCATE {r.choice(['event', 'note', 'wide'])}",
    lambda r: f"""UPDATE "Order" SET "order" = "order" + {_id(r)} WHERE "Position" = {_id(r)}""",
    lambda r: "ALTER TABLE event DETACH PARTITION event_2",
    lambda r: "ALTER TABLE event ATTACH PARTITION event_2 FOR VALUES FROM ('2024-02-01') TO ('2024-03-01')",
    lambda r: "INSERT INTO event_2 VALUES (77, '2024-02-07') ON CONFLICT DO NOTHING",
    lambda r: "ALTER TABLE gadget NO INHERIT thing",
    lambda r: "ALTER TABLE gadget INHERIT thing",
    lambda r: (
        "ALTER TABLE note DROP COLUMN noted_at;"
        " ALTER TABLE note ADD COLUMN noted_at timestamp DEFAULT '2025-01-01'"
    ),
    lambda r: f"ALTER TABLE wide DROP COLUMN c7, ADD COLUMN c7 int DEFAULT {_id(r)}",
]
