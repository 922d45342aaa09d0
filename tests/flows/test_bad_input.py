"""Each kind of failure ends in one clear line and a status, with nothing half-done."""

from __future__ import annotations

import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from prefect.filesystems import LocalFileSystem
from prefect.settings import PREFECT_API_URL
from prefect_sqlalchemy import SqlAlchemyConnector
from psycopg import sql

import flows.__main__
from demo.postgres import Postgres
from pipeline.warehouse import ledger
from tasks import save_blocks
from tests.flows.conftest import open_kiosk
from tests.flows.story import s3_access
from tests.flows.support import ROOT, World, blocks_were_changed, query, warehouse_state

WRONG = "hunter2-is-wrong"


@dataclass(frozen=True)
class Attempt:
    """What a command printed and logged, and how it ended."""

    status: int
    out: str
    err: str
    log: str

    def fails_with(self, *words: str) -> None:
        """Require one line that says all these (regular expressions), and no traceback."""
        assert self.status != 0
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("error: ")
        for pattern in words:
            assert re.search(pattern, lines[0]), f"{pattern!r} is not in: {lines[0]}"
        self.keeps_secrets()
        assert "Traceback" not in self.log + self.out

    def keeps_secrets(self) -> None:
        everything = self.out + self.err + self.log
        assert WRONG not in everything
        assert _PASSWORDS.isdisjoint(re.split(r"[^\w-]+", everything))


_PASSWORDS: set[str] = set()


class _Kept(logging.Handler):
    """Keeps what is logged, as it would be shown."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def _log() -> Iterator[_Kept]:
    kept = _Kept()
    loggers = [logging.getLogger(name) for name in ("prefect", "prefect.flow_runs", "prefect.task_runs")]
    for logger in loggers:
        logger.addHandler(kept)
    yield kept
    for logger in loggers:
        logger.removeHandler(kept)


Try = Callable[..., Attempt]


@pytest.fixture
def attempt(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Try:
    """A function that runs a command's main in a world, with arguments as on a command line."""

    def attempt(world: World, main: Callable[[], int], *arguments: str) -> Attempt:
        for url in (world.source_url, world.warehouse_url):
            _PASSWORDS.add(urlsplit(url).password or WRONG)
        monkeypatch.setattr(sys, "argv", ["command", *arguments])
        capsys.readouterr()
        with world.entered(), _log() as log:
            status = main()
        shown = capsys.readouterr()
        return Attempt(status, shown.out, shown.err, "\n".join(log.lines))

    return attempt


@pytest.fixture(scope="module")
def base(make_world: Callable[..., World]) -> World:
    """A kiosk whose first batch is in the warehouse."""
    world = open_kiosk(make_world)
    world.run().reports  # noqa: B018  raises what the run failed with
    for name in ("raw", "models"):
        shutil.copytree(world.home / name, world.home / "kept" / name)
    return world


@pytest.fixture
def loaded(base: World) -> Iterator[World]:
    """The same kiosk, with raw bucket and models as they were after its first batch."""
    yield base
    for name in ("raw", "models"):
        shutil.rmtree(base.home / name, ignore_errors=True)
        shutil.copytree(base.home / "kept" / name, base.home / name)


@contextmanager
def nothing_changes(world: World) -> Iterator[None]:
    """Require that the warehouse holds the same rows after the block."""
    before = warehouse_state(world.warehouse_url)
    yield
    assert warehouse_state(world.warehouse_url) == before


def with_parts(url: str, **changes: str) -> str:
    """The URL with another user, password, host, port or database."""
    parts = urlsplit(url)
    has = {
        "user": parts.username,
        "password": parts.password,
        "host": parts.hostname,
        "port": parts.port,
        "database": parts.path.strip("/"),
    } | changes
    where = f"{has['user']}:{has['password']}@{has['host']}:{has['port']}"
    return urlunsplit(parts._replace(netloc=where, path=f"/{has['database']}"))


def with_changes(world: World, name: str, value: str, **more: Any) -> World:
    """The world with another value of that name."""
    changes: dict[str, Any] = {name: value, **more}
    return replace(world, **changes)


@pytest.fixture
def closed_port() -> Iterator[str]:
    """A port that is bound, so that nobody else takes it, and that nobody listens on."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield str(bound.getsockname()[1])


# What the settings say, and what the line says of it.
SETTINGS: dict[str, tuple[Mapping[str, str], list[str]]] = {
    "unknown name": (
        {"TOTESYS_SORCE_URL": "postgresql://a@b/c"},
        ["TOTESYS_SORCE_URL", "did you mean TOTESYS_SOURCE_URL"],
    ),
    "another database's URL": (
        {"TOTESYS_SOURCE_URL": f"mysql://someone:{WRONG}@host/shop"},
        ["TOTESYS_SOURCE_URL", "postgresql://"],
    ),
    "no database in the URL": (
        {"TOTESYS_WAREHOUSE_URL": f"postgresql://someone:{WRONG}@host"},
        ["TOTESYS_WAREHOUSE_URL", "postgresql://.*/database"],
    ),
    "a port that is no number": (
        {"TOTESYS_SOURCE_URL": f"postgresql://someone:{WRONG}@host:x1/shop"},
        ["TOTESYS_SOURCE_URL", "postgresql://"],
    ),
    "a bracket that stays open": (
        {"TOTESYS_SOURCE_URL": f"postgresql://someone:{WRONG}@[::1/shop"},
        ["TOTESYS_SOURCE_URL", "postgresql://"],
    ),
    "no URL at all": ({"TOTESYS_SOURCE_URL": "the shop"}, ["TOTESYS_SOURCE_URL", "postgresql://"]),
    "another store's URI": ({"TOTESYS_RAW_URI": "gs://bucket/raw"}, ["TOTESYS_RAW_URI", "s3://"]),
    "no bucket in the URI": ({"TOTESYS_PROCESSED_URI": "s3://"}, ["TOTESYS_PROCESSED_URI", "s3://"]),
    "a setting that is empty": ({"TOTESYS_RAW_URI": ""}, ["TOTESYS_RAW_URI", "not set"]),
    "two that are empty": (
        {"TOTESYS_SOURCE_URL": "", "TOTESYS_PROCESSED_URI": ""},
        ["TOTESYS_SOURCE_URL", "TOTESYS_PROCESSED_URI"],
    ),
}


@pytest.mark.parametrize("mistake", SETTINGS)
def test_settings_are_refused_before_a_block_is_saved(
    loaded: World, attempt: Try, monkeypatch: pytest.MonkeyPatch, mistake: str
) -> None:
    said, words = SETTINGS[mistake]
    world = replace(loaded, more=said)

    def saved(*_: object, **__: object) -> None:
        raise AssertionError("a block was saved")

    monkeypatch.setattr(SqlAlchemyConnector, "save", saved)
    monkeypatch.setattr(LocalFileSystem, "save", saved)
    attempt(world, save_blocks.main).fails_with(*words)


def test_a_misspelt_name_in_the_env_file_is_refused(loaded: World, attempt: Try) -> None:
    file = loaded.home / ".env"
    file.write_text("TOTESYS_SOURCE_SHEMA=public\n")
    try:
        words = ["TOTESYS_SOURCE_SHEMA", r"\.env", "TOTESYS_SOURCE_SCHEMA"]
        attempt(loaded, save_blocks.main).fails_with(*words)
    finally:
        file.unlink()


def test_settings_are_refused_before_a_run_touches_anything(loaded: World, attempt: Try) -> None:
    world = replace(loaded, more={"TOTESYS_SORCE_URL": "postgresql://a@b/c"})
    with nothing_changes(loaded):
        attempt(world, flows.__main__.main).fails_with("TOTESYS_SORCE_URL", "TOTESYS_SOURCE_URL")


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
        attempt(world, flows.__main__.main).fails_with(*words)


def _no_second_try(_: float) -> None:
    raise AssertionError("tried again")


@pytest.mark.parametrize("which", ["source", "warehouse"])
def test_a_database_that_does_not_answer_is_named(
    loaded: World, attempt: Try, impatient: None, closed_port: str, which: str
) -> None:
    url = with_parts(getattr(loaded, f"{which}_url"), port=closed_port)
    world = with_changes(loaded, f"{which}_url", url)
    world.save_blocks()
    with nothing_changes(loaded):
        attempt(world, flows.__main__.main).fails_with(f"error: {which}: cannot be reached", closed_port)


@pytest.mark.parametrize("which", ["raw", "processed"])
def test_a_bucket_that_is_missing_is_named(loaded: World, attempt: Try, s3_endpoint: str, which: str) -> None:
    missing = f"s3://missing-{uuid.uuid4().hex[:8]}/there"
    world = with_changes(loaded, f"{which}_uri", missing, more=s3_access(s3_endpoint))
    world.save_blocks()
    with nothing_changes(loaded):
        attempt(world, flows.__main__.main, "--full").fails_with(missing, "bucket does not exist")


def test_a_bucket_that_is_a_file_is_named(loaded: World, attempt: Try) -> None:
    file = loaded.home / "a_file"
    file.write_text("not a folder")
    world = replace(loaded, raw_uri=str(file))
    world.save_blocks()
    with nothing_changes(loaded):
        attempt(world, flows.__main__.main, "--full").fails_with(str(file))


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (SqlAlchemyConnector, "totesys-source"),
        (LocalFileSystem, "totesys-processed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_block_that_is_missing_is_named(loaded: World, attempt: Try, kind: Any, name: str) -> None:
    loaded.save_blocks()
    kind.delete(name)
    blocks_were_changed()
    with nothing_changes(loaded):
        attempt(loaded, flows.__main__.main).fails_with(f"/{name}", "make blocks")


ITEM = "-- One row an item.\nSELECT\n    item_id,\n    label,\n    price\nFROM item\n"

# Files of the models folder as the user wrote them (None: removed), and what the line says of it.
MODELS: dict[str, tuple[dict[str, str | None], list[str]]] = {
    "syntax": (
        {"dim_item.sql": ITEM.replace("FROM item", "FORM item")},
        [r"dim_item\.sql:6: ", "syntax error"],
    ),
    "column": (
        {"dim_item.sql": ITEM.replace("label", "lable")},
        [r"dim_item\.sql:4: ", '"lable" not found', "label"],
    ),
    "table": (
        {"dim_item.sql": ITEM.replace("FROM item", "FROM itm")},
        [r"dim_item\.sql", "table itm", "public"],
    ),
    "type": (
        {"dim_item.sql": ITEM.replace("price", "DATE '2026-01-01' AS price")},
        [r"dim_item\.sql", "price", "DATE", r"numeric\(8,2\)", "cast"],
    ),
    "column that the warehouse lacks": (
        {"dim_item.sql": ITEM.replace("price", "price,\n    price AS cost")},
        [r"dim_item\.sql", "column cost", "warehouse table dim_item"],
    ),
    "no key": (
        {"fact_sale.sql": "SELECT sale_id, item_id, sold_at, pieces FROM sale"},
        [r"fact_sale\.sql", "-- key:"],
    ),
    "no kind": ({"things.sql": "SELECT item_id FROM item"}, [r"things\.sql", "-- kind: fact"]),
    "two statements": ({"dim_item.sql": f"{ITEM};\nSELECT 1"}, [r"dim_item\.sql", "2 statements"]),
    "none": ({"dim_item.sql": None, "fact_sale.sql": None}, ["models: no models", "TOTESYS_TRANSFORMS"]),
    "no schema.sql for a new table": (
        {"schema.sql": None, "dim_b.sql": "SELECT item_id FROM item"},
        [r"models/schema\.sql", "missing"],
    ),
    "a table that schema.sql does not make": (
        {"dim_b.sql": "SELECT item_id FROM item"},
        [r"public\.dim_b is missing", r"schema\.sql"],
    ),
    "a schema.sql that Postgres refuses": (
        {"schema.sql": "CREATE TABEL dim_b ()", "dim_b.sql": "SELECT item_id FROM item"},
        [r"schema\.sql", "TABEL"],
    ),
}


@pytest.mark.parametrize("mistake", MODELS)
def test_a_model_that_is_wrong_is_named_with_the_reason(loaded: World, attempt: Try, mistake: str) -> None:
    files, words = MODELS[mistake]
    loaded.save_blocks()
    for name, text in files.items():
        if text is None:
            (loaded.transforms / name).unlink()
        else:
            (loaded.transforms / name).write_text(text)
    with nothing_changes(loaded):
        attempt(loaded, flows.__main__.main).fails_with(*words)


def test_a_folder_of_models_that_is_not_there_is_named(loaded: World, attempt: Try) -> None:
    loaded.save_blocks()
    world = replace(loaded, transforms=loaded.home / "modles")
    with nothing_changes(loaded):
        attempt(world, flows.__main__.main).fails_with("modles", "TOTESYS_TRANSFORMS")


@pytest.mark.parametrize("which", ["SOURCE", "WAREHOUSE"])
def test_a_schema_that_is_not_there_is_named(loaded: World, attempt: Try, which: str) -> None:
    loaded.save_blocks()
    world = replace(loaded, more={f"TOTESYS_{which}_SCHEMA": "nowhere"})
    with nothing_changes(loaded):
        attempt(world, flows.__main__.main).fails_with("nowhere")


def test_a_column_that_is_gone_from_the_source_is_named(kiosk: World, attempt: Try) -> None:
    kiosk.run().reports  # noqa: B018
    query(kiosk.source_url, "ALTER TABLE item RENAME COLUMN label TO name")
    kiosk.save_blocks()
    with nothing_changes(kiosk):
        attempt(kiosk, flows.__main__.main).fails_with(r"dim_item\.sql:\d+: ", "label")


@pytest.fixture
def reader(postgres: Postgres) -> Iterator[tuple[str, str]]:
    """A role that may connect, and nothing else; its name and password."""
    name, password = f"reader_{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    url = postgres.url("postgres")
    role = sql.Identifier(name)
    query(url, sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, password))
    yield name, password
    query(url, sql.SQL("DROP ROLE {}").format(role))


def test_a_source_role_that_may_not_read_is_told_what_to_grant(
    loaded: World, attempt: Try, reader: tuple[str, str]
) -> None:
    url = with_parts(loaded.source_url, user=reader[0], password=reader[1])
    world = replace(loaded, source_url=url)
    world.save_blocks()
    with nothing_changes(loaded):
        attempt(world, flows.__main__.main).fails_with("source", "permission denied for table", "SELECT")
        attempt(world, flows.__main__.main, "--full").fails_with("source", "permission denied", "SELECT")


def test_a_warehouse_role_that_may_not_create_is_told_so(
    loaded: World, attempt: Try, reader: tuple[str, str]
) -> None:
    url = with_parts(loaded.warehouse_url, user=reader[0], password=reader[1])
    world = replace(loaded, warehouse_url=url)
    world.save_blocks()
    with nothing_changes(loaded):
        attempt(world, flows.__main__.main).fails_with("error: warehouse: ", "permission denied")


def test_another_run_that_holds_the_lock_is_left_alone(loaded: World, attempt: Try) -> None:
    loaded.save_blocks()
    with nothing_changes(loaded), ledger.lock(loaded.warehouse_url, "public"):
        attempt(loaded, flows.__main__.main).fails_with("another run is at work on this warehouse")
    assert attempt(loaded, flows.__main__.main).status == 0


def test_fewer_rows_than_none_cannot_be_allowed(loaded: World, attempt: Try) -> None:
    loaded.save_blocks()
    with nothing_changes(loaded):
        done = attempt(loaded, flows.__main__.main, "--max-rejected=-1")
    done.fails_with("max_rejected", "greater than or equal")


def test_bad_rows_are_set_aside_until_they_are_mended(kiosk: World, attempt: Try) -> None:
    in_fact = "SELECT array_agg(sale_id ORDER BY sale_id) FROM fact_sale"
    query(kiosk.source_url, "INSERT INTO sale VALUES (4, 2, '2026-01-06', NULL), (5, 9, '2026-01-06', 1)")
    kiosk.save_blocks()
    refused = attempt(kiosk, flows.__main__.main, "--max-rejected", "1")
    refused.fails_with("2 rows would be rejected", "1 .*allowed")
    assert query(kiosk.warehouse_url, "SELECT * FROM etl.watermark") == []
    assert query(kiosk.warehouse_url, "SELECT * FROM dim_item") == []

    done = attempt(kiosk, flows.__main__.main, "--max-rejected", "2")
    assert (done.status, done.err) == (0, "")
    assert query(kiosk.warehouse_url, in_fact) == [([1, 2, 3],)]
    said = "SELECT key ->> 'sale_id', reason, \"row\" ->> 'item_id', resolved FROM etl.rejected ORDER BY 1, 4"
    assert query(kiosk.warehouse_url, said) == [
        ("4", "pieces is missing (NULL)", "2", False),
        ("5", "item_id is not in dim_item", "9", False),
    ]

    query(kiosk.source_url, "UPDATE sale SET pieces = 3 WHERE sale_id = 4")
    query(kiosk.source_url, "INSERT INTO item VALUES (9, 'lighter', 1.50)")
    assert attempt(kiosk, flows.__main__.main, "--max-rejected", "0").status == 0
    assert query(kiosk.warehouse_url, in_fact) == [([1, 2, 3, 4, 5],)]
    assert query(kiosk.warehouse_url, "SELECT bool_and(resolved), count(*) FROM etl.rejected") == [(True, 2)]


def command(world: World, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a module as a command of its own, with the session's Prefect server."""
    ours = ("TOTESYS_", "AWS_", "PREFECT_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environment |= world.settings | {
        "PREFECT_API_URL": PREFECT_API_URL.value(),
        "PREFECT_HOME": str(world.home / "prefect"),
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=world.home,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def errors(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if line.startswith("error: ")]


def test_the_command_fails_with_one_line_and_a_status_and_no_secret(loaded: World) -> None:
    world = replace(loaded, source_url=with_parts(loaded.source_url, password=WRONG))
    world.save_blocks()
    with nothing_changes(loaded):
        done = command(world, "flows")
    assert (done.returncode, done.stdout) == (1, "")
    assert len(errors(done)) == 1
    assert done.stderr.splitlines()[-1] == errors(done)[0]
    assert "password authentication failed" in errors(done)[0]
    secrets = {WRONG, urlsplit(loaded.warehouse_url).password}
    assert not any(str(secret) in done.stdout + done.stderr for secret in secrets)
    assert "Traceback" not in done.stderr


def test_the_command_succeeds_where_there_is_nothing_to_do(loaded: World) -> None:
    loaded.save_blocks()
    done = command(loaded, "flows")
    assert (done.returncode, done.stdout) == (0, "up to date: nothing changed in the source\n")
    assert errors(done) == []


def test_the_command_that_saves_blocks_fails_with_one_line_and_a_status(loaded: World) -> None:
    world = replace(loaded, more={"TOTESYS_SOURCE_URL": f"postgres//u:{WRONG}@h/d"})
    done = command(world, "tasks.save_blocks")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines() == errors(done)
    assert len(errors(done)) == 1
    assert "TOTESYS_SOURCE_URL" in errors(done)[0]
    assert WRONG not in done.stderr
