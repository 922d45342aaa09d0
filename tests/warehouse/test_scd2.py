"""Slowly changing dimensions, type 2: what others promise of snapshots, for facts and dimensions.

What dbt snapshots, dlt's scd2 and SQLMesh's SCD_TYPE_2 models test of themselves, written anew. Each scenario
has rows of its own in one source table, so that all of them go through the same few batches. A batch is an
ordinary run; nothing is reconciled.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

import pytest

from demo.postgres import Postgres
from tests.bench import Bench
from tests.bench import bench as open_bench
from tests.support import value

# A version: from which batch, up to which one (None: still), and its values.
Span = tuple[int, int | None, str]


@dataclass(frozen=True)
class Scenario:
    """What happens to its rows before each batch, and the versions of row 1 then; ``others`` of further rows.

    In statements ``{mine}`` selects the scenario's rows, and ``{new}`` inserts some of (id, name, city).
    """

    name: str
    steps: tuple[str, ...]
    versions: tuple[Span, ...]
    others: dict[int, tuple[Span, ...]] = field(default_factory=dict)


BORN = "{new} (1, 'a', 'York')"
RENAMED = "UPDATE member SET name = 'b' WHERE {mine}"
GONE = "DELETE FROM member WHERE {mine}"
BACK = BORN

SCENARIOS = [
    Scenario("a new row has one open version", (BORN,), ((0, None, "a York"),)),
    Scenario("a row may come later", ("", BORN), ((1, None, "a York"),)),
    Scenario("a changed value ends a version", (BORN, RENAMED), ((0, 1, "a York"), (1, None, "b York"))),
    Scenario(
        "each batch's change is a version",
        (BORN, RENAMED, "UPDATE member SET name = 'c' WHERE {mine}"),
        ((0, 1, "a York"), (1, 2, "b York"), (2, None, "c York")),
    ),
    Scenario(
        "two changes between batches are one version",
        (BORN, RENAMED + "; UPDATE member SET name = 'c' WHERE {mine}"),
        ((0, 1, "a York"), (1, None, "c York")),
    ),
    Scenario(
        "there and back between batches is none",
        (BORN, RENAMED + "; UPDATE member SET name = 'a' WHERE {mine}"),
        ((0, None, "a York"),),
    ),
    Scenario(
        "there and back over batches is three",
        (BORN, RENAMED, "UPDATE member SET name = 'a' WHERE {mine}"),
        ((0, 1, "a York"), (1, 2, "b York"), (2, None, "a York")),
    ),
    Scenario(
        "an UPDATE without a change is none",
        (BORN, "UPDATE member SET name = name WHERE {mine}"),
        ((0, None, "a York"),),
    ),
    Scenario(
        "a timestamp alone is a change of an untracked column",
        (BORN, "UPDATE member SET touched = touched + INTERVAL '1 day' WHERE {mine}"),
        ((0, None, "a York"),),
    ),
    Scenario(
        "a change that leaves the timestamp alone is one",
        (BORN, "UPDATE member SET city = 'Bath' WHERE {mine}"),
        ((0, 1, "a York"), (1, None, "a Bath")),
    ),
    Scenario(
        "a timestamp that goes back is no obstacle",
        (BORN, "UPDATE member SET name = 'b', touched = '1999-01-01' WHERE {mine}"),
        ((0, 1, "a York"), (1, None, "b York")),
    ),
    Scenario(
        "a timestamp that is NULL is no obstacle",
        (BORN, "UPDATE member SET name = 'b', touched = NULL WHERE {mine}"),
        ((0, 1, "a York"), (1, None, "b York")),
    ),
    Scenario("a deleted row ends", (BORN, GONE), ((0, 1, "a York"),)),
    Scenario("a deletion is seen once", (BORN, GONE, "", ""), ((0, 1, "a York"),)),
    Scenario(
        "a changed row is deleted",
        (BORN, RENAMED, GONE),
        ((0, 1, "a York"), (1, 2, "b York")),
    ),
    Scenario(
        "changed and deleted between batches",
        (BORN, RENAMED + ";" + GONE),
        ((0, 1, "a York"),),
    ),
    Scenario(
        "a row comes back as it was",
        (BORN, GONE, BACK),
        ((0, 1, "a York"), (2, None, "a York")),
    ),
    Scenario(
        "a row comes back after some batches",
        (BORN, GONE, "", "", BACK),
        ((0, 1, "a York"), (4, None, "a York")),
    ),
    Scenario(
        "a row comes back with other values",
        (BORN, GONE, "{new} (1, 'z', 'Hull')"),
        ((0, 1, "a York"), (2, None, "z Hull")),
    ),
    Scenario(
        "a row comes back and goes again",
        (BORN, GONE, BACK, GONE),
        ((0, 1, "a York"), (2, 3, "a York")),
    ),
    Scenario(
        "a row comes back and changes",
        (BORN, GONE, BACK, RENAMED),
        ((0, 1, "a York"), (2, 3, "a York"), (3, None, "b York")),
    ),
    Scenario(
        "deleted and inserted again between batches",
        (BORN, GONE + ";" + BACK),
        ((0, None, "a York"),),
    ),
    Scenario(
        "deleted and inserted with other values between batches",
        (BORN, GONE + "; {new} (1, 'z', 'York')"),
        ((0, 1, "a York"), (1, None, "z York")),
    ),
    Scenario("inserted and deleted between batches", (BORN + ";" + GONE,), ()),
    Scenario(
        "another key is another row",
        (BORN, "UPDATE member SET id = 2 WHERE {mine}"),
        ((0, 1, "a York"),),
        {2: ((1, None, "a York"),)},
    ),
    Scenario(
        "keys change places",
        (
            BORN + ", (2, 'b', 'Bath')",
            "UPDATE member SET id = -id WHERE {mine}; UPDATE member SET id = 3 + id WHERE {mine}",
        ),
        ((0, 1, "a York"), (1, None, "b Bath")),
        {2: ((0, 1, "b Bath"), (1, None, "a York"))},
    ),
    Scenario(
        "one of two changes",
        (BORN + ", (2, 'b', 'Bath')", "UPDATE member SET city = 'Hull' WHERE {mine} AND id = 2"),
        ((0, None, "a York"),),
        {2: ((0, 1, "b Bath"), (1, None, "b Hull"))},
    ),
    Scenario(
        "one goes and another comes",
        (BORN, GONE + "; {new} (2, 'b', 'Bath')"),
        ((0, 1, "a York"),),
        {2: ((1, None, "b Bath"),)},
    ),
    Scenario(
        "a value becomes NULL and is one again",
        (BORN, "UPDATE member SET city = NULL WHERE {mine}", "UPDATE member SET city = 'York' WHERE {mine}"),
        ((0, 1, "a York"), (1, 2, "a -"), (2, None, "a York")),
    ),
    Scenario(
        "NULL and the empty text are two values",
        ("{new} (1, 'a', NULL)", "UPDATE member SET city = '' WHERE {mine}"),
        ((0, 1, "a -"), (1, None, "a ")),
    ),
    Scenario(
        "a blank at the end is a change",
        (BORN, "UPDATE member SET city = 'York ' WHERE {mine}"),
        ((0, 1, "a York"), (1, None, "a York ")),
    ),
    Scenario(
        "a savepoint that is rolled back is no change",
        (BORN, "BEGIN; SAVEPOINT s; UPDATE member SET name = 'x' WHERE {mine}; ROLLBACK TO s; COMMIT"),
        ((0, None, "a York"),),
    ),
    Scenario(
        "a deletion that is rolled back is none",
        (BORN, "BEGIN; DELETE FROM member WHERE {mine}; ROLLBACK"),
        ((0, None, "a York"),),
    ),
    Scenario(
        "a change within a savepoint is one",
        (BORN, "BEGIN; SAVEPOINT s; UPDATE member SET name = 'b' WHERE {mine}; RELEASE s; COMMIT"),
        ((0, 1, "a York"), (1, None, "b York")),
    ),
]
KINDS = ("fact_member", "dim_member")
COLUMNS = "scenario, id, name, city, touched"
TABLE = "(scenario text, id integer, name text, city text, touched timestamptz, PRIMARY KEY (scenario, id));"
MODELS = {
    "fact_member": f"-- key: scenario, id\n-- untracked: touched\nSELECT {COLUMNS} FROM member",
    # Not row by row: its result is compared with the last one.
    "dim_member": f"-- untracked: touched\nSELECT DISTINCT {COLUMNS} FROM member",
    "fact_kept": f"-- key: scenario, id\n-- deletes: ignore\nSELECT {COLUMNS} FROM member",
    "schema": f"""
        CREATE TABLE fact_member {TABLE.replace(", PRIMARY KEY (scenario, id)", "")}
        CREATE TABLE fact_kept {TABLE.replace(", PRIMARY KEY (scenario, id)", "")}
        CREATE TABLE dim_member {TABLE}
    """,
}


@dataclass(frozen=True)
class Ran:
    """A warehouse after all batches, and their moments."""

    bench: Bench
    moments: list[datetime]


def statements(scenario: Scenario, step: int) -> str:
    name = scenario.name.replace("'", "''")
    text = scenario.steps[step] if step < len(scenario.steps) else ""
    added = (
        "INSERT INTO member (scenario, id, name, city, touched)"
        f" SELECT '{name}', v.*, '2026-01-01'::timestamptz FROM (VALUES"
    )
    if "{new}" in text:
        before, _, rows = text.partition("{new}")
        rows, _, after = rows.partition(";")
        text = f"{before}{added}{rows}) AS v" + (f"; {after}" if after else "")
    return text.replace("{mine}", f"scenario = '{name}'")


@pytest.fixture(scope="module")
def ran(postgres: Postgres) -> Iterator[Ran]:
    """All scenarios, side by side."""
    with open_bench(postgres) as bench:
        bench.fresh(
            MODELS,
            f"CREATE TABLE member {TABLE}",
            "INSERT INTO member SELECT 'bystander', n, 'a', 'York' FROM generate_series(1, 100) AS n",
        )
        moments = []
        for step in range(max(len(scenario.steps) for scenario in SCENARIOS)):
            # Each batch has something to read.
            bench.do(f"INSERT INTO member VALUES ('bystander', {1000 + step}, 'a', 'York')")
            for scenario in SCENARIOS:
                if text := statements(scenario, step):
                    bench.do(text)
            bench.run()
            moments.append(value(bench.house.url, "SELECT snapshot_at FROM etl.watermark"))
        yield Ran(bench, moments)


def spans(ran: Ran, table: str, scenario: Scenario, id_: int) -> tuple[Span, ...]:
    """A row's versions in the order of time, deletions left out."""
    name = scenario.name.replace("'", "''")
    place: dict[datetime | None, int | None] = {moment: at for at, moment in enumerate(ran.moments)}
    rows = ran.bench.house.query(
        "SELECT valid_from, valid_to, name || ' ' || COALESCE(city, '-')"
        f" FROM {table}_history WHERE scenario = '{name}' AND id = {id_}"
        f" AND {'NOT deleted' if table.startswith('fact') else 'true'} ORDER BY valid_from"
    )
    return tuple((place[since] or 0, place.get(until), words) for since, until, words in rows)


@pytest.mark.parametrize("table", KINDS)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_versions_are_as_the_field_keeps_them(ran: Ran, scenario: Scenario, table: str) -> None:
    assert spans(ran, table, scenario, 1) == scenario.versions
    for id_, versions in scenario.others.items():
        assert spans(ran, table, scenario, id_) == versions


@pytest.mark.parametrize("table", KINDS)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_each_moment_shows_the_version_of_then(ran: Ran, scenario: Scenario, table: str) -> None:
    name = scenario.name.replace("'", "''")
    for at, moment in enumerate(ran.moments):
        shown = ran.bench.house.query(
            f"SELECT name || ' ' || COALESCE(city, '-') FROM {table}_as_of('{moment.isoformat()}')"
            f" WHERE scenario = '{name}' AND id = 1"
        )
        valid = [
            words
            for since, until, words in scenario.versions
            if since <= at and (until is None or at < until)
        ]
        assert [words for (words,) in shown] == valid


def test_an_ended_row_is_marked(ran: Ran) -> None:
    """A fact by a version of its own, a dimension on its last one; and only there."""
    ended = "SELECT count(*) FROM {}_history WHERE scenario = 'a deletion is seen once' AND deleted"
    assert [value(ran.bench.house.url, ended.format(table)) for table in KINDS] == [1, 1]
    alive = "SELECT count(*) FROM {}_history WHERE scenario = 'a changed value ends a version' AND deleted"
    assert [value(ran.bench.house.url, alive.format(table)) for table in KINDS] == [0, 0]
    assert value(ran.bench.house.url, "SELECT count(*) FROM fact_kept_history WHERE deleted") == 0


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_model_that_ignores_deletions_keeps_the_last_version(ran: Ran, scenario: Scenario) -> None:
    shown = ran.bench.house.query(
        "SELECT name || ' ' || COALESCE(city, '-') FROM fact_kept_current"
        f" WHERE scenario = '{scenario.name.replace(chr(39), chr(39) * 2)}' AND id = 1"
    )
    assert [words for (words,) in shown] == [words for *_, words in scenario.versions[-1:]]
