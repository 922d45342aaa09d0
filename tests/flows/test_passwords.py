"""No failure shows a password, whatever its characters, right or wrong."""

from __future__ import annotations

import logging
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, quote_plus

import psutil
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from prefect.settings import PREFECT_RESULTS_LOCAL_STORAGE_PATH, PREFECT_SERVER_DATABASE_CONNECTION_URL
from psycopg import sql

import flows.command
import tasks.status
from pipeline import connection
from pipeline.connection import Malformed
from tasks import save_blocks
from tests.flows.conftest import open_kiosk
from tests.flows.support import World, blocks_were_changed, query
from tests.flows.test_secrets import Kept, of_the_api, of_the_buckets
from tests.postgres.test_redaction import LONG

# A trigger quotes the row, and names every column's value.
REFUSAL = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RAISE EXCEPTION 'not % by %', NEW, 'Ann-Secret' USING DETAIL = 'Ann-Secret', HINT = 'Ann-Secret'; END $$;
    CREATE TRIGGER refuse BEFORE INSERT ON fact_sale FOR EACH ROW EXECUTE FUNCTION refuse()
"""
MAINS: dict[str, Callable[[], int]] = {
    "blocks": save_blocks.main,
    "run": flows.command.main,
    "status": tasks.status.main,
}


@contextmanager
def kept() -> Iterator[Kept]:
    """Every record of every logger, as a handler gets it."""
    handler = Kept()
    loggers = [
        logging.getLogger(),
        *map(logging.getLogger, ("prefect", "prefect.flow_runs", "prefect.task_runs")),
    ]
    for logger in loggers:
        logger.addHandler(handler)
    yield handler
    for logger in loggers:
        logger.removeHandler(handler)


def spellings(password: str) -> set[str]:
    """Its encodings, and the fragments that libpq and others take for other parts."""
    pieces = {password, *password.replace("@", " ").replace("/", " ").split(" ")}
    spelt = set[str]()
    for piece in pieces:
        if len(piece) >= 8:
            spelt |= {piece, quote(piece), quote(piece, safe=""), quote(piece, safe=" +"), quote_plus(piece)}
            spelt |= {repr(piece)[1:-1], ascii(piece)[1:-1]}
    return spelt


def left(log: Kept, console: str, world: World) -> dict[str, bytes]:
    """Everything that was written, as bytes by location."""
    found = {f"log record {number}": line.encode() for number, line in enumerate(log.lines)}
    found["console"] = console.encode()
    database = Path(str(PREFECT_SERVER_DATABASE_CONNECTION_URL.value()).partition(":///")[2])
    for path in [
        *database.parent.glob(f"{database.name}*"),
        *files(PREFECT_RESULTS_LOCAL_STORAGE_PATH.value()),
    ]:
        found[str(path)] = path.read_bytes()
    for process in psutil.process_iter(["cmdline"]):
        found[f"process {process.pid}"] = " ".join(process.info["cmdline"] or ()).encode()
    return found | of_the_api([]) | of_the_buckets(world)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture(scope="module")
def world(make_world: Callable[..., World]) -> World:
    """A kiosk whose first batch is in the warehouse, and whose warehouse now refuses facts."""
    made = open_kiosk(make_world)
    made.run().reports  # noqa: B018  raises what the run failed with
    query(made.warehouse_url, REFUSAL)
    return made


@pytest.fixture(scope="module")
def role(world: World) -> Iterator[str]:
    """A superuser role with the password of a test."""
    name = f"somebody_{uuid.uuid4().hex[:8]}"
    query(world.source_url, sql.SQL("CREATE ROLE {} SUPERUSER LOGIN").format(sql.Identifier(name)))
    yield name
    query(world.source_url, sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


@pytest.mark.campaign
@settings(
    max_examples=2,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(password=LONG, wrong=LONG)
@example(password="two words", wrong="p@ssword1")
def test_no_failing_path_shows_a_password(
    world: World,
    role: str,
    without_retries: None,
    capfd: pytest.CaptureFixture[str],
    password: str,
    wrong: str,
) -> None:
    where = world.source_url.rpartition("@")[2]
    grant = sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), password)
    query(world.source_url, grant)

    def url(text: str, place: str = where) -> str:
        return f"postgresql://{role}:{text}@{place}"

    right, mistaken = url(quote(password, safe="")), url(quote(wrong, safe=""))
    nowhere = url(quote(password, safe=""), "127.0.0.1:1/db")
    with kept() as log:
        # Raw, as it was copied: refused, or what libpq makes of it.
        for raw in (url(password), url(wrong)):
            status = call("blocks", replace(world, source_url=raw), "--unchecked")
            assert status == (0 if taken(raw) else 1)
        for source in (mistaken, nowhere, right):
            there = replace(world, source_url=source)
            assert call("blocks", there, "--unchecked") == 0
            assert call("blocks", there) == (0 if source == right else 1)
            query(world.source_url, "UPDATE sale SET pieces = pieces + 1")
            # With the right password the batch is read, and the warehouse refuses rows with their values.
            assert call("run", there) == (0 if source == right else 1)
            assert call("status", there, "--quick") == (1 if source == right else 3)
        shown = capfd.readouterr()
    found = left(log, shown.out + shown.err, world)
    secrets = spellings(password) | spellings(wrong)
    assert {word for word in secrets for held in found.values() if word.encode() in held} == set()
    assert "a trigger or function of the database refuses the row" in shown.out
    server = [held for name, held in found.items() if "prefect-test.db" in name]
    assert any(b"password authentication failed" in held for held in server), (
        "this search finds what is there"
    )
    values = {
        name: held for name, held in found.items() if not name.endswith(".parquet") and b"Ann-Secret" in held
    }
    assert not values, list(values)


def taken(url: str) -> bool:
    try:
        connection.of(url)
    except Malformed:
        return False
    return True


def call(command: str, world: World, *arguments: str) -> int:
    """A command as from a shell, its settings in the environment."""
    blocks_were_changed()
    with world.entered(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [command, *arguments])
        return MAINS[command]()
