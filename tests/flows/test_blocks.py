"""Blocks: saved and tried by one command, for several environments, with URLs in Secrets Manager."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import boto3
import pytest
from prefect.client.schemas.actions import BlockDocumentUpdate
from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_DATABASE_CONNECTION_URL, temporary_settings
from prefect_aws import AwsSecret
from prefect_sqlalchemy import ConnectionComponents, SqlAlchemyConnector, SyncDriver

from pipeline import postgres
from pipeline.errors import SettingsError
from tasks import blocks, save_blocks
from tests.flows.conftest import open_kiosk, s3_buckets
from tests.flows.story import s3_access
from tests.flows.support import World, blocks_were_changed, client, query, with_password

SALES = "SELECT count(*) FROM fact_sale"


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """A function that calls ``make blocks`` in a world; its lines, and its error if it has one."""

    def call(world: World, *arguments: str, status: int = 0) -> list[str]:
        blocks_were_changed()
        monkeypatch.setattr(sys, "argv", ["save_blocks", *arguments])
        capsys.readouterr()
        with world.entered():
            assert save_blocks.main() == status
        shown = capsys.readouterr()
        return shown.out.splitlines() + shown.err.splitlines()

    return call


def test_the_command_tells_what_it_saved_and_that_it_works(
    kiosk: World, s3_endpoint: str, command: Callable[..., list[str]]
) -> None:
    uris = s3_buckets(s3_endpoint)
    world = replace(kiosk, raw_uri=uris["raw_uri"], more=uris["more"])
    first, again = command(world), command(world)
    assert first == again
    assert first[0].startswith("source: works, as role postgres in database kiosk_source")
    assert first[2] == f"raw bucket: works, {world.raw_uri} can be written, listed and read"
    assert first[4:] == [
        "saved block sqlalchemy-connector/totesys-source",
        "saved block sqlalchemy-connector/totesys-warehouse",
        "saved block aws-credentials/totesys",
        "saved block s3-bucket/totesys-raw",
        "saved block local-file-system/totesys-processed",
    ]
    assert not [path for path in Path(world.processed_uri).rglob("*") if path.is_file()], (
        "nothing is left behind"
    )


def slugs(lines: list[str]) -> set[str]:
    """The blocks that were saved."""
    return {line.removeprefix("saved block ") for line in lines if line.startswith("saved block ")}


ALL = {
    "sqlalchemy-connector/totesys-source",
    "sqlalchemy-connector/totesys-warehouse",
    "local-file-system/totesys-raw",
    "local-file-system/totesys-processed",
}


@pytest.mark.parametrize(
    ("name", "wrong", "words"),
    [
        ("warehouse_url", "password", "error: warehouse: .*password authentication failed"),
        ("raw_uri", "s3://nowhere-at-all/raw", "error: s3://nowhere-at-all/raw: .*the bucket does not exist"),
        ("processed_uri", "/proc/processed", "error: .*/proc/processed"),
    ],
)
def test_a_block_that_does_not_work_is_named_and_stays_as_it_was(
    kiosk: World, s3_endpoint: str, command: Callable[..., list[str]], name: str, wrong: str, words: str
) -> None:
    command(kiosk)
    value = with_password(kiosk.warehouse_url, "wrong") if wrong == "password" else wrong
    changes: dict[str, Any] = {name: value, "more": s3_access(s3_endpoint)}
    lines = command(replace(kiosk, **changes), status=1)
    assert re.search(words, lines[-1])
    kept = {"warehouse_url": "warehouse", "raw_uri": "raw", "processed_uri": "processed"}[name]
    assert slugs(lines) == {slug for slug in ALL if not slug.endswith(kept)}
    assert kiosk.flow().state.is_completed(), "the block is still the one that worked"
    assert command(replace(kiosk, **changes), "--unchecked")[-1].startswith("saved block ")


@pytest.mark.campaign
def test_all_that_does_not_work_is_named_at_once(
    kiosk: World, s3_endpoint: str, command: Callable[..., list[str]]
) -> None:
    wrong = replace(
        kiosk,
        source_url=with_password(kiosk.source_url, "wrong"),
        raw_uri="s3://nowhere-at-all/raw",
        processed_uri="/proc/processed",
        more=s3_access(s3_endpoint),
    )
    lines = command(wrong, status=1)
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    assert [error.partition(":")[0] for error in errors] == ["source", "s3", "/proc/processed"]
    assert slugs(lines) == {"sqlalchemy-connector/totesys-warehouse"}


@pytest.mark.campaign
def test_environments_live_side_by_side(make_world: Callable[..., World]) -> None:
    """Two of them on one server; a run of one touches nothing of the other."""
    worlds = {name: open_kiosk(make_world) for name in ("dev", "prod")}
    for name, world in worlds.items():
        replace(world, more={"TOTESYS_ENVIRONMENT": name}).save_blocks()
    with worlds["dev"].entered():
        dev = worlds["dev"].flow(environment="dev")
    assert query(worlds["dev"].warehouse_url, SALES) == [(3,)]
    assert dev.state.is_completed()
    assert query(worlds["prod"].warehouse_url, "SELECT to_regclass('etl.batch')") == [(None,)]
    assert worlds["prod"].flow(environment="prod").state.is_completed()
    missing = worlds["prod"].flow(environment="staging")
    assert "staging-totesys-source" in str(missing.error)
    wrong = worlds["prod"].flow(environment="No Name")
    assert not wrong.state.is_completed()


@pytest.fixture
def vault(s3_endpoint: str) -> Any:
    """Secrets Manager, and what a client of it needs."""
    access = s3_access(s3_endpoint) | {"AWS_ENDPOINT_URL": s3_endpoint, "AWS_REGION": "eu-west-2"}
    client = boto3.client(
        "secretsmanager",
        endpoint_url=s3_endpoint,
        region_name="eu-west-2",
        aws_access_key_id=access["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=access["AWS_SECRET_ACCESS_KEY"],
    )
    return client, access


@pytest.mark.campaign
def test_urls_may_be_kept_in_secrets_manager(
    kiosk: World, vault: Any, command: Callable[..., list[str]]
) -> None:
    """As a URL, or in parts as RDS rotates them; a new password counts at once."""
    manager, access = vault
    parts = urlsplit(kiosk.warehouse_url)
    as_rds = {
        "username": parts.username,
        "password": unquote(parts.password or ""),
        "host": parts.hostname,
        "port": parts.port,
        "dbname": parts.path.strip("/"),
        "sslmode": "prefer",
    }
    source, warehouse = f"{kiosk.home.name}/source", f"{kiosk.home.name}/warehouse"
    manager.create_secret(Name=source, SecretString=with_password(kiosk.source_url, "old"))
    manager.create_secret(Name=warehouse, SecretString=json.dumps(as_rds))
    world = replace(kiosk, source_url=source, warehouse_url=warehouse, more=access)
    assert "saved block aws-secret/totesys-source" in command(world, "--unchecked")
    refused = world.flow()
    assert "password authentication failed" in str(refused.error)
    manager.put_secret_value(SecretId=source, SecretString=kiosk.source_url)
    assert world.flow().state.is_completed()
    assert query(kiosk.warehouse_url, SALES) == [(3,)]
    command(kiosk)
    with pytest.raises(ValueError, match="Unable to find block"):
        AwsSecret.load("totesys-source")
    command(world, "--unchecked")
    with pytest.raises(ValueError, match="Unable to find block"):
        SqlAlchemyConnector.load("totesys-source")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read: .*secretsmanager:GetSecretValue"),
        ("hello world", "is neither a URL"),
        ('{"username": "hunter2"}', "is neither a URL"),
        ("{", "is neither a URL"),
    ],
)
def test_a_secret_that_will_not_do_is_named_and_not_shown(
    kiosk: World, vault: Any, command: Callable[..., list[str]], content: str | None, words: str
) -> None:
    manager, access = vault
    name = f"{kiosk.home.name}/{len(content or '')}"
    if content:
        manager.create_secret(Name=name, SecretString=content)
    (line,) = [
        line
        for line in command(replace(kiosk, source_url=name, more=access), status=1)
        if line.startswith("error: ")
    ]
    assert re.search(f"secret {name}: {words}", line)
    assert "hunter2" not in line


def components(url: str, **changes: Any) -> ConnectionComponents:
    """A block's fields as somebody types them, for a URL's database."""
    parts = urlsplit(url)
    fields = {
        "driver": "postgresql+psycopg2",
        "username": parts.username,
        "password": unquote(parts.password or ""),
        "host": parts.hostname,
        "port": parts.port,
        "database": parts.path.strip("/"),
    }
    return ConnectionComponents(**(fields | changes))


# How somebody may fill in the fields of the source's block; each leads to the database.
BY_HAND: dict[str, Callable[[str, int], Any]] = {
    "as a URL, the password elsewhere": lambda url, _: {
        "connection_info": f"postgresql+psycopg2://postgres@{url.rpartition('@')[2]}"
    },
    "as a driver of its list": lambda url, _: {
        "connection_info": components(url, driver=SyncDriver.POSTGRESQL_PG8000)
    },
    "several hosts": lambda url, port: {
        "connection_info": components(url, host=f"127.0.0.1:1,127.0.0.1:{port}", port=None)
    },
    "several hosts in the query": lambda url, port: {
        "connection_info": components(url, host=None, port=None, query={"host": f"127.0.0.1:{port}"})
    },
    "white space and options": lambda url, _: {
        "connection_info": components(url, host=" 127.0.0.1 ", query={"options": "-c search_path=a+b"}),
        "connect_args": {"keepalives": True, "connect_timeout": 5},
    },
}


@pytest.mark.parametrize("way", BY_HAND)
def test_a_block_that_was_edited_by_hand_leads_to_the_database(
    kiosk: World, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks_were_changed()
    monkeypatch.setenv("PGPASSWORD", unquote(urlsplit(kiosk.source_url).password or ""))
    port = urlsplit(kiosk.source_url).port or 0
    SqlAlchemyConnector(**BY_HAND[way](kiosk.source_url, port)).save("totesys-source", overwrite=True)
    found = blocks.database_url(blocks.SOURCE, "")
    assert "role postgres in database kiosk_source" in postgres.login(found, "source")


# The same, with what is said of what will not do.
WRONG_BY_HAND: dict[str, tuple[Callable[[str], Any], str]] = {
    "another database": (
        lambda url: {"connection_info": components(url, driver="mysql+pymysql")},
        r"scheme: mysql\+pymysql:// is no PostgreSQL database",
    ),
    "a readable password": (
        lambda url: {
            "connection_info": components(url, password=None, query={"password": "hunter2-hunter2"})
        },
        "password in Query: everybody can read it there; use the field Password",
    ),
    "a readable password in a URL": (
        lambda url: {"connection_info": "postgresql://postgres@h/db?password=hunter2-hunter2"},
        "password in Connection Info: everybody can read it there",
    ),
    "a password in a URL": (
        lambda url: {"connection_info": "postgresql://postgres:hunter2-hunter2@h/db"},
        "password in Connection Info: everybody can read it there; use the fields, with Password",
    ),
    "a raw @ in a URL": (
        lambda url: {"connection_info": "postgresql://postgres:hunter2@hunter2@h/db"},
        "password: a raw @ stands there; write it as %40",
    ),
    "a port in the host and another one": (
        lambda url: {"connection_info": components(url, host="h:1", port=2)},
        "port: 1 stands in the host, and another one in its own field",
    ),
    "an option of Python": (
        lambda url: {"connection_info": components(url), "connect_args": {"autocommit": True}},
        "option autocommit: libpq has none of that name",
    ),
    "no database": (
        lambda url: {"connection_info": components(url, database=None)},
        "database: there is none",
    ),
    "two users": (
        lambda url: {"connection_info": components(url), "connect_args": {"user": "other"}},
        "user in Connect Args: another field of the block says something else",
    ),
}


@pytest.mark.parametrize("way", WRONG_BY_HAND)
def test_a_block_that_will_not_do_is_refused_by_part_and_reason(kiosk: World, way: str) -> None:
    blocks_were_changed()
    fields, said = WRONG_BY_HAND[way]
    SqlAlchemyConnector(**fields(kiosk.source_url)).save("totesys-source", overwrite=True)
    block = "block sqlalchemy-connector/totesys-source"
    with pytest.raises(SettingsError, match=f"^{block}: {said}") as caught:
        blocks.database_url(blocks.SOURCE, "")
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_block_that_prefect_cannot_load_is_refused_without_what_stands_in_it(kiosk: World) -> None:
    """The UI checks nothing: SQLAlchemy reads no several hosts, and its words show the URL."""
    kiosk.save_blocks()
    blocks_were_changed()
    with client() as prefect:
        document = prefect.read_block_document_by_name("totesys-source", "sqlalchemy-connector")
        wrong = BlockDocumentUpdate(
            data={"connection_info": "postgresql://u:hunter2-hunter2@h:port/db"},
            block_schema_id=document.block_schema_id,
            merge_existing_data=False,
        )
        prefect.update_block_document(document.id, wrong)
    with pytest.raises(SettingsError, match=r"^block sqlalchemy-connector/totesys-source: connection_info"):
        blocks.database_url(blocks.SOURCE, "")


@pytest.mark.parametrize(
    "credentials",
    [
        {"AWS_SESSION_TOKEN": "FwoGZXIvYXdzEJr-hunter2"},
        {"AWS_ACCESS_KEY_ID": "ASIAIOSFODNN7EXAMPLE"},  # pragma: allowlist secret
    ],
)
def test_credentials_that_expire_are_stored_only_where_that_is_asked_for(
    kiosk: World, s3_endpoint: str, command: Callable[..., list[str]], credentials: dict[str, str]
) -> None:
    uris = s3_buckets(s3_endpoint)
    world = replace(kiosk, raw_uri=uris["raw_uri"], more=uris["more"] | credentials)
    (line,) = command(world, status=1)
    assert re.search("error: AWS_SESSION_TOKEN: .* expire.* role .*AWS_PROFILE.*web identity", line)
    assert "hunter2" not in line
    assert "ARGS=--temporary-credentials" in line
    assert "saved block aws-credentials/totesys" in command(world, "--temporary-credentials")
    assert "saved block" in command(replace(kiosk, more=credentials))[-1], "no block of AWS is needed"


def test_no_server_is_started_to_find_that_there_is_no_block(tmp_path: Path) -> None:
    database = tmp_path / "prefect.db"
    never_used = {
        PREFECT_API_URL: None,
        PREFECT_SERVER_DATABASE_CONNECTION_URL: f"sqlite+aiosqlite:///{database}",
    }
    with temporary_settings(never_used), pytest.raises(SettingsError, match="totesys-source is missing"):
        blocks.database_url(blocks.SOURCE, "")
    assert not database.exists()
