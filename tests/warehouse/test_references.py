"""Postgres skips the references that a load has proven, if its role may let it; the result is the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from demo.postgres import Postgres
from pipeline.errors import WarehouseError
from pipeline.postgres import transaction
from pipeline.warehouse import bisection, references, rejected
from pipeline.warehouse.references import NO_RIGHT
from tests.support import execute
from tests.warehouse.cities import CONTENTS, DAYS, EXPECTED, PRESENT, Place, city, place, rival, sale


@pytest.fixture(scope="module")
def filled(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(postgres, tmp_path_factory.mktemp("references")) as made:
        made.allow(right=True)
        made.bring(**DAYS[0])
        yield made


@pytest.fixture
def own(filled: Place) -> Iterator[Place]:
    """The warehouse that all tests of this module add batches to."""
    yield filled
    filled.allow(right=True)


@pytest.fixture(autouse=True)
def skipped(filled: Place, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with every statement without triggers, which a single row is enough for."""
    found = []
    real = references.unchecked

    @contextmanager
    def unchecked(connection: Any, *, proven: bool) -> Iterator[None]:
        with real(connection, proven=proven):
            found.extend([1] * proven)
            yield

    monkeypatch.setattr(references, "unchecked", unchecked)
    monkeypatch.setattr(references, "_FEWEST_ROWS", 1)
    return found


@pytest.mark.parametrize("version", [pytest.param(16, marks=pytest.mark.campaign), 18])
def test_both_ways_load_the_same(
    servers: Callable[[int], Postgres], version: int, tmp_path: Path, skipped: list[int]
) -> None:
    """With rejected and retried rows, NULLs, deferred references, generated and partitioned things."""
    results = []
    for right in (True, False):
        with place(servers(version), tmp_path / str(right)) as made:
            made.allow(right=right)
            for day in DAYS:
                made.bring(**day)
            results.append({name: made.house.query(text) for name, text in CONTENTS.items()})
            for bad in ("UPDATE fact_sale SET shop_id = 77", "DELETE FROM dim_shop", "DELETE FROM dim_city"):
                with pytest.raises(psycopg.errors.ForeignKeyViolation):
                    execute(made.url, bad)
            assert {name: made.house.query(text) for name, text in PRESENT.items()} == EXPECTED
    # Fact and bridge are filled on the first day; the fact is merged on the others, the bridge on one.
    assert len(skipped) == 5
    assert results[0] == results[1]
    assert {row[-1] for row in results[0]["constraints"]} == {True}


def test_nobody_deletes_a_row_between_its_proof_and_the_insertion(
    own: Place, monkeypatch: pytest.MonkeyPatch, skipped: list[int]
) -> None:
    refused, real = [], rejected.reject_violations

    def prove(table: Any, **options: Any) -> int:
        number = real(table, **options)
        if table.target.name == "fact_sale":
            with pytest.raises(psycopg.errors.LockNotAvailable):
                execute(own.url, "SET lock_timeout = '50ms'", "DELETE FROM dim_city WHERE city_id = 4")
            refused.append(1)
        return number

    monkeypatch.setattr(rejected, "reject_violations", prove)
    own.bring(cities=[city(4)], sales=[sale(11, 1, 4)])
    assert (refused, skipped) == ([1], [1])
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        execute(own.url, "DELETE FROM dim_city WHERE city_id = 4")


def test_a_row_that_was_deleted_before_the_lock_is_not_there_for_the_proof(
    own: Place, monkeypatch: pytest.MonkeyPatch, skipped: list[int]
) -> None:
    own.bring(cities=[city(5)])
    real = references.lock

    def lock(*arguments: Any) -> bool:
        execute(own.url, "DELETE FROM dim_city WHERE city_id = 5")
        return real(*arguments)

    monkeypatch.setattr(references, "lock", lock)
    own.bring(sales=[sale(21, 1, 5), sale(22, 1, 2)])
    assert skipped == [1]
    assert ("fact_sale", {"sale_id": "21"}, "city_id is not in dim_city") in own.house.rejected()


def test_postgres_checks_the_references_while_others_write_to_what_they_refer_to(
    own: Place, skipped: list[int]
) -> None:
    """The load does not wait for them."""
    with psycopg.connect(own.url) as writer:
        writer.execute("UPDATE dim_shop SET label = 'b' WHERE shop_id = 2")
        own.bring(sales=[sale(31), sale(32, 44)])
        writer.rollback()
    assert skipped == []
    assert ("fact_sale", {"sale_id": "32"}, "shop_id is not in dim_shop") in own.house.rejected()


def test_a_trigger_and_a_cascade_of_others_run(own: Place, skipped: list[int]) -> None:
    execute(
        own.url,
        "CREATE TABLE seen (sale_id int)",
        "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN INSERT INTO public.seen VALUES (NEW.sale_id); RETURN NULL; END'",
        "CREATE TRIGGER sees AFTER INSERT ON fact_sale FOR EACH ROW EXECUTE FUNCTION see()",
        "CREATE TABLE notes (shop_id int, city_id int, FOREIGN KEY (shop_id, city_id)"
        " REFERENCES bridge_rival ON DELETE CASCADE)",
        "INSERT INTO notes VALUES (1, 2)",
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC",
    )
    gone = {"rivals": [{"shop_id": 1, "city_id": 2}]}
    own.house.bring(own.batches.batch({"sales": [sale(41)], "rivals": [rival(2, 2)]}, deleted=gone))
    assert skipped == []
    assert own.house.query("SELECT * FROM seen") == [(41,)]
    assert own.house.query("SELECT * FROM notes") == []
    execute(own.url, "DROP TABLE notes, seen", "DROP FUNCTION see() CASCADE")


_SEE = "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
_ONE = "CREATE FUNCTION one() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'"
_MATCH_FULL = "FOREIGN KEY (shop_id, city_id) REFERENCES bridge_rival MATCH FULL"
OBSTACLES: dict[tuple[str, ...], str] = {
    (_SEE, "CREATE TRIGGER sees AFTER INSERT ON fact_sale EXECUTE FUNCTION see()"): "it has the trigger sees",
    (
        _SEE,
        "CREATE CONSTRAINT TRIGGER sees AFTER INSERT ON fact_sale FOR EACH ROW EXECUTE FUNCTION see()",
    ): "it has the trigger sees",
    (
        "ALTER TABLE fact_sale ADD UNIQUE (record_id, amount)",
        "CREATE TABLE mine (a int, b int)",
        "ALTER TABLE mine ADD CONSTRAINT theirs FOREIGN KEY (a, b) REFERENCES fact_sale (record_id, amount)",
    ): "the constraint theirs of public.mine needs a trigger",
    (
        "ALTER TABLE fact_sale ADD CONSTRAINT loop FOREIGN KEY (amount) REFERENCES fact_sale (record_id)",
    ): "the constraint loop of public.fact_sale needs a trigger",
    (
        "ALTER TABLE fact_sale ADD CONSTRAINT once UNIQUE (record_id, amount) DEFERRABLE",
    ): "the constraint once of public.fact_sale needs a trigger",
    (
        f"ALTER TABLE fact_sale ADD {_MATCH_FULL} NOT VALID",
    ): "fact_sale_shop_id_city_id_fkey is MATCH FULL or has a PERIOD",
    ("CREATE TABLE child () INHERITS (fact_sale)",): "it has partitions, parents or children",
    (
        "CREATE TABLE child () INHERITS (dim_shop)",
    ): "fact_sale_shop_id_fkey refers to a table that has children",
    (_ONE, "ALTER TABLE fact_sale ALTER amount SET DEFAULT one()"): "it uses the function public.one()",
    (_ONE, "ALTER TABLE fact_sale ADD CHECK (amount >= one())"): "it uses the function public.one()",
    (
        "CREATE FUNCTION two(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 2'",
        "CREATE INDEX ON fact_sale (two(amount))",
    ): "it uses the function public.two(integer)",
}


def test_postgres_checks_the_references_of_tables_where_more_would_be_skipped(own: Place) -> None:
    others = own.reasons()
    assert others.keys() == {"dim_shop"}, "facts and bridges refer to it"
    found = {statements: own.reasons(*statements).get("fact_sale") for statements in OBSTACLES}
    assert found == OBSTACLES


def test_references_that_the_load_has_not_proven_are_checked_by_postgres(
    own: Place, skipped: list[int]
) -> None:
    """One that was added after the contract was read, and one of a column that the model lacks."""
    shops = "CREATE TABLE theirs (amount int PRIMARY KEY); INSERT INTO theirs VALUES (1)"
    execute(own.url, shops, f"GRANT ALL ON theirs TO {own.role}")
    execute(own.url, "ALTER TABLE fact_sale ADD CONSTRAINT new FOREIGN KEY (amount) REFERENCES theirs")
    own.bring(sales=[sale(51), sale(52, amount=44)])
    assert [(key, '"new"' in reason) for _, key, reason in own.house.rejected() if "52" in key.values()] == [
        ({"sale_id": "52"}, True)
    ]
    execute(own.url, "DROP TABLE theirs CASCADE", "ALTER TABLE fact_sale ADD more int DEFAULT 1")
    execute(own.url, "ALTER TABLE fact_sale ADD FOREIGN KEY (more) REFERENCES dim_shop")
    own.house.prepare()
    own.bring(sales=[sale(53)])
    assert skipped == []
    execute(own.url, "ALTER TABLE fact_sale DROP CONSTRAINT fact_sale_more_fkey")
    own.house.prepare()
    own.bring(sales=[sale(54)])
    assert skipped == [1]


def test_the_setting_ends_with_its_statement(own: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the statement fails; rows to blame are searched for without it."""
    roles, real = list[Any](), bisection.run

    def search(connection: Any, *arguments: Any, **options: Any) -> tuple[int, int]:
        roles.append(connection.execute("SHOW session_replication_role").fetchone())
        return real(connection, *arguments, **options)

    monkeypatch.setattr(bisection, "run", search)
    execute(own.url, "ALTER TABLE fact_sale ADD CONSTRAINT one EXCLUDE (amount WITH =) WHERE (amount > 100)")
    own.bring(sales=[sale(61), sale(62, amount=101), sale(63, amount=101)])
    execute(own.url, "ALTER TABLE fact_sale DROP CONSTRAINT one")
    assert [key for _, key, reason in own.house.rejected() if '"one"' in reason] == [{"sale_id": "63"}]
    with transaction(own.house.url, "warehouse") as connection:
        with references.unchecked(connection, proven=True):
            roles += connection.execute("SHOW session_replication_role").fetchall()
        roles += connection.execute("SHOW session_replication_role").fetchall()
    assert roles == [("origin",), ("replica",), ("origin",)]


def test_row_security_is_an_error_both_ways(own: Place) -> None:
    policy = "ALTER TABLE dim_shop {0} ROW LEVEL SECURITY, {1}FORCE ROW LEVEL SECURITY"
    execute(own.url, policy.format("ENABLE", ""))
    before, errors = replace(own.batches), set()
    batch = own.batches.batch({"sales": [sale(71)]})
    for right in (True, False):
        own.allow(right=right)
        with pytest.raises(WarehouseError, match="row-level security") as error:
            own.house.bring(batch)
        errors.add(str(error.value))
    execute(own.url, policy.format("DISABLE", "NO "))
    own.batches = before
    assert len(errors) == 1


def test_the_role_needs_the_right_and_a_view_of_what_others_commit(own: Place) -> None:
    own.allow(right=False)
    assert own.reasons() == dict.fromkeys(("bridge_rival", "dim_shop", "fact_sale"), NO_RIGHT)
    with transaction(own.url, "warehouse", one_moment=True) as connection:
        assert not references.may_skip(connection)
    with transaction(own.url, "warehouse") as connection:
        assert references.may_skip(connection)
        connection.execute("SET LOCAL session_replication_role = replica")
        assert not references.may_skip(connection)


def test_a_load_into_an_emptied_table_does_not_wait_for_its_readers(
    own: Place, monkeypatch: pytest.MonkeyPatch, skipped: list[int]
) -> None:
    """Filling it would drop its indexes, for which they would have to leave."""
    monkeypatch.setenv("TOTESYS_LOCK_TIMEOUT", "1")
    execute(own.url, "DELETE FROM fact_sale")
    with psycopg.connect(own.url) as reader:
        reader.execute("SELECT FROM fact_sale, dim_shop")
        own.bring(sales=[sale(91), sale(92)])
    assert skipped == [1]
    assert own.house.query("SELECT count(*) FROM fact_sale_current WHERE sale_id > 90") == [(2,)]


def test_few_rows_are_not_worth_the_locks(
    own: Place, monkeypatch: pytest.MonkeyPatch, skipped: list[int]
) -> None:
    monkeypatch.setattr(references, "_FEWEST_ROWS", 3)
    own.bring(sales=[sale(81), sale(82)])
    assert skipped == []
    own.bring(sales=[sale(83), sale(84), sale(85)])
    assert skipped == [1]
