"""Blocks: one command tests and saves them, for several environments, with URLs in Secrets Manager."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import boto3
import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_DATABASE_CONNECTION_URL, temporary_settings
from prefect_aws import AwsSecret
from prefect_sqlalchemy import SqlAlchemyConnector

from pipeline import settings
from pipeline.errors import SettingsError
from tasks import blocks, save_blocks
from tests.flows.conftest import open_kiosk, s3_buckets
from tests.flows.shop_runs import s3_access
from tests.flows.support import World, blocks_were_changed, query, with_password

SALES = "SELECT count(*) FROM fact_sale"


@pytest.fixture
def command(call: Callable[..., list[str]]) -> Callable[..., list[str]]:
    """A function that calls ``make blocks`` in a world; its error if it has one, and its lines."""

    def make_blocks(world: World, *arguments: str, status: int = 0) -> list[str]:
        blocks_were_changed()
        return call(save_blocks.main, world, *arguments, status=status)

    return make_blocks


def test_the_command_lists_the_saved_and_tested_blocks(
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
def test_a_block_that_does_not_work_is_named_and_not_changed(
    kiosk: World, s3_endpoint: str, command: Callable[..., list[str]], name: str, wrong: str, words: str
) -> None:
    command(kiosk)
    value = with_password(kiosk.warehouse_url, "wrong") if wrong == "password" else wrong
    changes: dict[str, Any] = {name: value, "more": s3_access(s3_endpoint)}
    lines = command(replace(kiosk, **changes), status=1)
    assert re.search(words, lines[0])
    kept = {"warehouse_url": "warehouse", "raw_uri": "raw", "processed_uri": "processed"}[name]
    assert slugs(lines) == {slug for slug in ALL if not slug.endswith(kept)}
    assert kiosk.flow().state.is_completed(), "the block is still the one that worked"
    assert command(replace(kiosk, **changes), "--unchecked")[-1].startswith("saved block ")


def test_a_warehouse_that_can_only_be_read_does_not_work(
    kiosk: World, command: Callable[..., list[str]]
) -> None:
    """As on a standby; the source may be one."""
    only_reads = "?options=-c%20default_transaction_read_only%3Don"
    url, source_url = kiosk.warehouse_url + only_reads, kiosk.source_url + only_reads
    lines = command(replace(kiosk, warehouse_url=url, source_url=source_url), status=1)
    assert re.search("^error: warehouse: role postgres can only read .*; name the primary server", lines[0])
    assert slugs(lines) == {slug for slug in ALL if not slug.endswith("warehouse")}


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
    """Two environments on one server; a run of one changes nothing of the other."""
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
    """As a URL, or as RDS' JSON; a new password is used at once."""
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
def test_an_unusable_secret_is_named_and_not_shown(
    tmp_path: Path, vault: Any, content: str | None, words: str
) -> None:
    manager, access = vault
    name = f"{tmp_path.parent.name}/{tmp_path.name}"
    if content:
        manager.create_secret(Name=name, SecretString=content)
    nowhere = "postgresql://reader:unused@127.0.0.1:1/nowhere"
    world = World(tmp_path, name, nowhere, str(tmp_path), str(tmp_path), tmp_path, access)
    with world.entered(), save_blocks.as_set(settings.load()), pytest.raises(SettingsError) as caught:
        blocks.database_url(blocks.SOURCE, "")
    assert re.search(f"secret {name}: {words}", str(caught.value))
    assert "hunter2" not in str(caught.value)


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
