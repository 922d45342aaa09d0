"""A database, bucket or block that is missing or refuses access ends a run in one line."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from prefect.filesystems import LocalFileSystem
from prefect_sqlalchemy import SqlAlchemyConnector
from psycopg import sql

import flows.command
from demo.postgres import Postgres
from pipeline.warehouse import ledger
from tests.flows.attempts import WRONG, Try, nothing_changes, with_changes, with_parts
from tests.flows.shop_runs import s3_access
from tests.flows.support import World, blocks_were_changed, query

# Which URL is wrong in which part, and what the line says of it.
LOGINS: dict[str, tuple[str, dict[str, str], list[str]]] = {
    "source: password": ("source_url", {"password": WRONG}, ["source", "password authentication failed"]),
    "warehouse: password": (
        "warehouse_url",
        {"password": WRONG},
        ["warehouse", "password authentication failed", "make blocks"],
    ),
    "warehouse: database": (
        "warehouse_url",
        {"database": "nowhere"},
        ["warehouse", '"nowhere" does not exist'],
    ),
}


@pytest.mark.parametrize("mistake", LOGINS)
def test_a_login_that_is_refused_is_not_tried_again(
    loaded: World, attempt: Try, monkeypatch: pytest.MonkeyPatch, mistake: str
) -> None:
    name, part, words = LOGINS[mistake]
    world = with_changes(loaded, name, with_parts(getattr(loaded, name), **part))
    world.save_blocks()
    monkeypatch.setattr("pipeline.postgres.time.sleep", _no_second_try)
    with nothing_changes(loaded):
        attempt(world, flows.command.main).fails_with(*words)


def _no_second_try(_: float) -> None:
    raise AssertionError("tried again")


@pytest.mark.parametrize("which", ["source", "warehouse"])
def test_a_database_that_does_not_answer_is_named(
    loaded: World, attempt: Try, without_retries: None, closed_port: str, which: str
) -> None:
    url = with_parts(getattr(loaded, f"{which}_url"), port=closed_port)
    world = with_changes(loaded, f"{which}_url", url)
    world.save_blocks()
    with nothing_changes(loaded):
        attempt(world, flows.command.main).fails_with(f"error: {which}: cannot be reached", closed_port)


@pytest.mark.parametrize("which", ["raw", "processed"])
def test_a_bucket_that_is_missing_is_named(loaded: World, attempt: Try, s3_endpoint: str, which: str) -> None:
    missing = f"s3://missing-{uuid.uuid4().hex[:8]}/there"
    world = with_changes(loaded, f"{which}_uri", missing, more=s3_access(s3_endpoint))
    world.save_blocks()
    with nothing_changes(loaded):
        attempt(world, flows.command.main, "--full").fails_with(missing, "bucket does not exist")


def test_a_bucket_that_is_a_file_is_named(loaded: World, attempt: Try) -> None:
    file = loaded.home / "a_file"
    file.write_text("not a folder")
    world = replace(loaded, raw_uri=str(file))
    world.save_blocks()
    with nothing_changes(loaded):
        attempt(world, flows.command.main, "--full").fails_with(str(file))


@pytest.mark.parametrize(
    ("kind", "name"),
    [(SqlAlchemyConnector, "totesys-source"), (LocalFileSystem, "totesys-processed")],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_block_that_is_missing_is_named(loaded: World, attempt: Try, kind: Any, name: str) -> None:
    loaded.save_blocks()
    kind.delete(name)
    blocks_were_changed()
    with nothing_changes(loaded):
        attempt(loaded, flows.command.main).fails_with(f"/{name}", "make blocks")


@pytest.fixture
def reader(postgres: Postgres) -> Iterator[tuple[str, str]]:
    """A role that may connect, and nothing else; its name and password."""
    name, password = f"reader_{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    url = postgres.url("postgres")
    role = sql.Identifier(name)
    query(url, sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, password))
    yield name, password
    query(url, sql.SQL("DROP ROLE {}").format(role))


def test_a_source_role_without_rights_gets_the_missing_grant(
    loaded: World, attempt: Try, reader: tuple[str, str]
) -> None:
    url = with_parts(loaded.source_url, user=reader[0], password=reader[1])
    world = replace(loaded, source_url=url)
    world.save_blocks()
    with nothing_changes(loaded):
        attempt(world, flows.command.main).fails_with("source", "permission denied for table", "SELECT")
        attempt(world, flows.command.main, "--full").fails_with("source", "permission denied", "SELECT")


def test_a_warehouse_role_without_rights_is_named(
    loaded: World, attempt: Try, reader: tuple[str, str]
) -> None:
    url = with_parts(loaded.warehouse_url, user=reader[0], password=reader[1])
    world = replace(loaded, warehouse_url=url)
    world.save_blocks()
    with nothing_changes(loaded):
        attempt(world, flows.command.main).fails_with("error: warehouse: ", "permission denied")


def test_a_lock_held_by_another_run_fails_the_command(loaded: World, attempt: Try) -> None:
    loaded.save_blocks()
    with nothing_changes(loaded), ledger.lock(loaded.warehouse_url, "public"):
        attempt(loaded, flows.command.main).fails_with("another run is at work on this warehouse")
    assert attempt(loaded, flows.command.main).status == 0
