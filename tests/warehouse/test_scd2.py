"""Slowly changing dimensions, type 2: what others promise of snapshots, for facts and dimensions.

What dbt snapshots, dlt's scd2 and SQLMesh's SCD_TYPE_2 models test themselves, written independently. Each
scenario has its own rows in one source table, so that all scenarios go through the same few batches. A batch
is an ordinary run; nothing is reconciled.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import pytest

from demo.postgres import Postgres
from tests.pair import Pair
from tests.pair import pair as open_pair
from tests.support import value
from tests.warehouse.scd2_scenarios import SCENARIOS, Scenario, Span

KINDS = ("fact_member", "dim_member")


COLUMNS = "scenario, id, name, city, touched"


TABLE = "(scenario text, id integer, name text, city text, touched timestamptz, PRIMARY KEY (scenario, id));"


MODELS = {
    "fact_member": f"-- key: scenario, id\n-- untracked: touched\nSELECT {COLUMNS} FROM member",
    # A model that does not run row by row.
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

    pair: Pair
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
    """All scenarios in one warehouse."""
    with open_pair(postgres) as pair:
        pair.fresh(
            MODELS,
            f"CREATE TABLE member {TABLE}",
            "INSERT INTO member SELECT 'bystander', n, 'a', 'York' FROM generate_series(1, 100) AS n",
        )
        moments = []
        for step in range(max(len(scenario.steps) for scenario in SCENARIOS)):
            # A row that changes in each batch.
            pair.do(f"INSERT INTO member VALUES ('bystander', {1000 + step}, 'a', 'York')")
            for scenario in SCENARIOS:
                if text := statements(scenario, step):
                    pair.do(text)
            pair.run()
            moments.append(value(pair.house.url, "SELECT snapshot_at FROM etl.watermark"))
        yield Ran(pair, moments)


def spans(ran: Ran, table: str, scenario: Scenario, id_: int) -> tuple[Span, ...]:
    """A row's versions in order, without deletions."""
    name = scenario.name.replace("'", "''")
    place: dict[datetime | None, int | None] = {moment: at for at, moment in enumerate(ran.moments)}
    rows = ran.pair.house.query(
        "SELECT valid_from, valid_to, name || ' ' || COALESCE(city, '-')"
        f" FROM {table}_history WHERE scenario = '{name}' AND id = {id_}"
        f" AND {'NOT deleted' if table.startswith('fact') else 'true'} ORDER BY valid_from"
    )
    return tuple((place[since] or 0, place.get(until), words) for since, until, words in rows)


@pytest.mark.parametrize("table", KINDS)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_versions_are_those_that_snapshots_of_other_tools_keep(
    ran: Ran, scenario: Scenario, table: str
) -> None:
    assert spans(ran, table, scenario, 1) == scenario.versions
    for id_, versions in scenario.others.items():
        assert spans(ran, table, scenario, id_) == versions


@pytest.mark.parametrize("table", KINDS)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_each_moment_shows_the_version_of_then(ran: Ran, scenario: Scenario, table: str) -> None:
    name = scenario.name.replace("'", "''")
    for at, moment in enumerate(ran.moments):
        shown = ran.pair.house.query(
            f"SELECT name || ' ' || COALESCE(city, '-') FROM {table}_as_of('{moment.isoformat()}')"
            f" WHERE scenario = '{name}' AND id = 1"
        )
        valid = [
            words
            for since, until, words in scenario.versions
            if since <= at and (until is None or at < until)
        ]
        assert [words for (words,) in shown] == valid


def test_a_deleted_row_has_a_last_version_marked_deleted(ran: Ran) -> None:
    """A fact has a version of its own for it, a dimension marks its last version."""
    ended = "SELECT count(*) FROM {}_history WHERE scenario = 'a deletion is seen once' AND deleted"
    assert [value(ran.pair.house.url, ended.format(table)) for table in KINDS] == [1, 1]
    alive = "SELECT count(*) FROM {}_history WHERE scenario = 'a changed value ends a version' AND deleted"
    assert [value(ran.pair.house.url, alive.format(table)) for table in KINDS] == [0, 0]
    assert value(ran.pair.house.url, "SELECT count(*) FROM fact_kept_history WHERE deleted") == 0


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_model_that_ignores_deletions_keeps_the_last_version(ran: Ran, scenario: Scenario) -> None:
    shown = ran.pair.house.query(
        "SELECT name || ' ' || COALESCE(city, '-') FROM fact_kept_current"
        f" WHERE scenario = '{scenario.name.replace(chr(39), chr(39) * 2)}' AND id = 1"
    )
    assert [words for (words,) in shown] == [words for *_, words in scenario.versions[-1:]]
