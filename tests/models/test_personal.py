"""Personal columns: their declaration, and hashes of values that never leave the source."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from psycopg import sql
from pydantic import ValidationError

from demo.postgres import Postgres
from pipeline.errors import ModelError, SettingsError
from pipeline.models import library
from pipeline.models.personal import Declared
from pipeline.redaction import redact
from pipeline.settings import Settings
from pipeline.source import hashing, snapshots
from pipeline.source.hashing import HashKey
from tests.house import plan_batch
from tests.pair import Pair, pair
from tests.support import execute, query, value

SECRET = "a secret that is long enough for a key"
PEOPLE = """
    CREATE TABLE person (
        person_id integer PRIMARY KEY, mail varchar(30), born date, pin numeric, mood mood, team_id integer
    )
"""
TYPES = ("DROP TYPE IF EXISTS mood", "CREATE TYPE mood AS ENUM ('calm', 'cross')")
MODELS = {
    "schema": """
        CREATE TABLE IF NOT EXISTS dim_person (
            person_id integer PRIMARY KEY, mail text, born text, pin text, mood text
        );
        CREATE TABLE IF NOT EXISTS dim_mail (mail text PRIMARY KEY, people bigint NOT NULL);
    """,
    "dim_person": """
        -- personal: hash mail, person.born, pin
        -- personal: hash mood
        SELECT * EXCLUDE (team_id) FROM person
    """,
    "dim_mail": "SELECT mail, count(*) AS people FROM person WHERE mail IS NOT NULL GROUP BY mail",
}
ROWS = """
    INSERT INTO person VALUES
    (1, 'ann@example.com', '1970-02-03', 1234.50, 'cross', 7), (2, NULL, NULL, NULL, NULL, 7),
    (3, 'zoë@example.com', '1988-01-01', 99999, 'calm', 7), (4, '', 'infinity', 'NaN', 'calm', 7)
"""
CLEAR = (
    "ann@example.com",
    "zoë@example.com",
    "1970-02-03",
    "1988-01-01",
    "1234.50",
    "99999",
    "cross",
    "infinity",
)


def hashed(text: str | None, secret: str = SECRET) -> str | None:
    """The hash of a value, by Python."""
    if text is None:
        return None
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


@pytest.fixture(scope="module")
def shop(servers: Callable[[int], Postgres]) -> Iterator[Pair]:
    with pair(servers(16)) as made:
        yield made


@pytest.fixture
def people(shop: Pair) -> Pair:
    """A source with people, whose first batch is loaded."""
    shop.key = HashKey(SECRET)
    shop.fresh(MODELS, *TYPES, PEOPLE)
    shop.do(ROWS)
    shop.run()
    return shop


def known(shop: Pair) -> dict[int, tuple[str | None, ...]]:
    rows = shop.house.query("SELECT person_id, mail, born, pin, mood FROM dim_person")
    return {number: tuple(rest) for number, *rest in rows}


def spelled_in(folder: Path) -> list[tuple[str, Path]]:
    """Clear text that some object contains."""
    actual = []
    for path in folder.rglob("*.*"):
        text = path.read_bytes().decode(errors="replace")
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq  # noqa: PLC0415

            text = str(pq.read_table(path).to_pylist())
        actual += [(clear, path) for clear in CLEAR if clear in text]
    return actual


def test_hashes_are_those_of_pythons_hmac(people: Pair) -> None:
    expected = {
        number: tuple(map(hashed, values))
        for number, values in {
            1: ("ann@example.com", "1970-02-03", "1234.50", "cross"),
            2: (None, None, None, None),
            3: ("zoë@example.com", "1988-01-01", "99999", "calm"),
            4: ("", "infinity", "NaN", "calm"),
        }.items()
    }
    assert known(people) == expected
    assert {mail for (mail,) in people.house.query("SELECT mail FROM dim_mail")} == {
        hashed(text) for text in ("ann@example.com", "zoë@example.com", "")
    }


def test_keys_of_each_length_give_the_hashes_of_python(shop: Pair) -> None:
    for secret in ("x" * 32, "é" * 40, "y" * 64, "z" * 65):
        key = HashKey(secret)
        with snapshots.snapshot(shop.source_url, key) as (connection, _):
            hash_ = hashing.hashing(sql.Literal("ann"), key.id)
            ((actual,),) = connection.execute(sql.SQL("SELECT {}").format(hash_)).fetchall()
        assert actual == hashed("ann", secret)


def test_clear_text_is_in_no_object_after_changes_rejected_rows_and_reconciling(people: Pair) -> None:
    people.do("ALTER TABLE person ADD UNIQUE (mail)", "DELETE FROM person WHERE person_id = 3")
    execute(people.house.url, "ALTER TABLE dim_person ADD CHECK (person_id < 5)")
    people.do("INSERT INTO person VALUES (5, 'zoë@example.com', '1988-01-01', 99999, 'cross', 7)")
    people.do("UPDATE person SET born = '1988-01-01' WHERE person_id = 1")
    people.run()
    assert people.house.query("SELECT key FROM etl.rejected") == [({"person_id": "5"},)]
    people.run(reconcile=True)
    assert people.house.query("SELECT person_id FROM dim_person_history WHERE deleted") == [(3,)]
    assert spelled_in(Path(people.house.raw.root)) == spelled_in(Path(people.house.processed.root)) == []
    kept = people.house.query("SELECT row::text, reason FROM etl.rejected")
    assert not [clear for clear in CLEAR if clear in str(kept)]


def test_a_hashed_key_finds_deleted_rows(shop: Pair) -> None:
    shop.key = HashKey(SECRET)
    shop.fresh(
        {
            "schema": "CREATE TABLE IF NOT EXISTS dim_person (mail text PRIMARY KEY, team text);",
            "dim_person": "-- personal: hash mail\nSELECT * FROM person",
        },
        "CREATE TABLE person (mail text PRIMARY KEY, team text)",
        "INSERT INTO person VALUES ('ann@example.com', 'a'), ('zoë@example.com', 'b')",
    )
    shop.run()
    shop.do("DELETE FROM person WHERE team = 'a'")
    counts = shop.run()
    assert counts is not None
    ended = shop.house.query("SELECT mail FROM dim_person_history WHERE deleted")
    assert ended == [(hashed("ann@example.com"),)]
    assert spelled_in(Path(shop.house.raw.root)) == []


@pytest.mark.parametrize("why", ["another key", "hashed only now"])
def test_tables_are_read_in_full_after_a_change_of_their_hashes(people: Pair, why: str) -> None:
    if why == "another key":
        people.key = HashKey(SECRET * 2)
    else:
        (people.house.folder / "dim_person.sql").write_text(
            "-- personal: hash mail, born, pin, mood, team_id\nSELECT * EXCLUDE (team_id) FROM person"
        )
    planned, _ = plan_batch(people.source_url, people.house, key=people.key)
    assert planned.tables["person"].mode == "full"
    assert planned.tables["person"].reason == "its columns are hashed differently than before"


def test_no_statement_contains_the_hash_key(people: Pair) -> None:
    key = HashKey(SECRET)
    pads = [bytes(byte ^ mask for byte in SECRET.encode()).hex() for mask in (0x36, 0x5C)]
    with snapshots.snapshot(people.source_url, key) as (connection, _):
        seen = query(
            people.source_url, "SELECT query FROM pg_stat_activity WHERE datname = current_database()"
        )
        held = connection.execute("SELECT current_setting(%s)", (f"pipeline.inner_{key.id}",)).fetchone()
        assert held is not None
        assert str(held[0]).startswith(pads[0])
    assert any("set_config" in text or "pg_backend_pid" in text for (text,) in seen)
    assert not [text for (text,) in seen if any(pad in text for pad in (*pads, SECRET))]
    with snapshots.snapshot(people.source_url) as (connection, _):
        gone = connection.execute(
            "SELECT current_setting(%s, true)", (f"pipeline.inner_{key.id}",)
        ).fetchone()
    assert gone in {(None,), ("",)}


REFUSED = {
    "nickname": "personal column nickname is in no table of the source that it reads",
    "team.mail": "personal column team.mail is in no table",
    "team_id": "personal column team_id is in person and in team; write person.team_id",
    "a b c": "write `-- personal: column",
    "mail,": "write `-- personal: column",
    "hash pin, w.x.y.z": "write `-- personal: column",
}


def test_a_personal_header_with_an_unknown_column_is_refused(people: Pair) -> None:
    people.do("DROP TABLE IF EXISTS team", "CREATE TABLE team (team_id integer PRIMARY KEY)")
    path = people.house.folder / "dim_person.sql"
    for header, message in REFUSED.items():
        text = "SELECT person.* EXCLUDE (team_id) FROM person LEFT JOIN team USING (team_id)"
        path.write_text(f"-- personal: {header}\n{text}")
        with pytest.raises(ModelError) as refused:
            people.run()
        assert str(refused.value).startswith(f"{path}:1: {message}")


def test_headers_declare_personal_and_hashed_columns(tmp_path: Path) -> None:
    path = tmp_path / "dim_person.sql"
    path.write_text(
        '-- personal: hash, "a b", person."C", crm.person.f\n'
        '-- personal: hash d, "e"\nSELECT 1 AS x FROM person\n'
    )
    assert library.read(path).personal == (
        Declared("hash", None, hashed=False),
        Declared("a b", None, hashed=False),
        Declared("C", "person", hashed=False),
        Declared("f", "crm.person", hashed=False),
        Declared("d", None, hashed=True),
        Declared("e", None, hashed=True),
    )


def test_a_cursor_cannot_be_hashed(shop: Pair) -> None:
    shop.key = HashKey(SECRET)
    shop.fresh(
        {
            "schema": "CREATE TABLE IF NOT EXISTS dim_person (id integer PRIMARY KEY, seen text);",
            "dim_person": "-- cursor: people.seen\n-- personal: hash seen\nSELECT id, seen FROM people",
        },
        "CREATE TABLE person (id integer PRIMARY KEY, seen timestamp)",
        "CREATE VIEW people AS SELECT * FROM person",
    )
    with pytest.raises(
        ModelError, match=r"cursor people\.seen: the column is hashed, and hashes have no order"
    ):
        shop.run()


def test_without_a_hash_key_nothing_is_read(people: Pair) -> None:
    people.key = None
    with pytest.raises(SettingsError, match=r"dim_person\.sql:\d+: mail is hashed, and there is no key; set"):
        people.run()


def test_a_short_key_is_refused_and_no_text_shows_a_long_one() -> None:
    with pytest.raises(SettingsError, match="TOTESYS_HASH_KEY: has fewer than 32 characters"):
        HashKey("x" * 31)
    with pytest.raises(ValidationError, match="at least 32"):
        Settings(hash_key="x" * 31)
    key = HashKey("k" * 20 + "l" * 20)
    assert "k" * 20 not in redact(f"{key!r} {vars(key)} {'k' * 20 + 'l' * 20}".replace("b'", "'"))


def test_personal_columns_without_a_hash_are_unchanged(people: Pair) -> None:
    (people.house.folder / "dim_person.sql").write_text(
        "-- personal: mail, born\nSELECT * EXCLUDE (team_id) FROM person"
    )
    people.house.prepared = None
    people.run()
    assert value(people.house.url, "SELECT mail FROM dim_person WHERE person_id = 1") == "ann@example.com"
