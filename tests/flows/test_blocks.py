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
from prefect_aws import AwsSecret
from prefect_sqlalchemy import SqlAlchemyConnector

from tasks import save_blocks
from tests.flows.conftest import open_kiosk, s3_buckets
from tests.flows.story import s3_access
from tests.flows.support import World, blocks_were_changed, query, with_password

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
    assert first[:5] == [
        "saved block sqlalchemy-connector/totesys-source",
        "saved block sqlalchemy-connector/totesys-warehouse",
        "saved block aws-credentials/totesys",
        "saved block s3-bucket/totesys-raw",
        "saved block local-file-system/totesys-processed",
    ]
    assert first[5].startswith("source: works, as role postgres in database kiosk_source")
    assert first[7] == f"raw bucket: works, {world.raw_uri} can be written, listed and read"
    assert len(first) == 9
    assert not [path for path in Path(world.processed_uri).rglob("*") if path.is_file()], (
        "nothing is left behind"
    )


@pytest.mark.parametrize(
    ("name", "wrong", "words"),
    [
        ("warehouse_url", "password", "error: warehouse: .*password authentication failed"),
        ("raw_uri", "s3://nowhere-at-all/raw", "error: s3://nowhere-at-all/raw: .*the bucket does not exist"),
        ("processed_uri", "/proc/processed", "error: .*/proc/processed"),
    ],
)
def test_the_command_names_the_block_that_does_not_work(
    kiosk: World, s3_endpoint: str, command: Callable[..., list[str]], name: str, wrong: str, words: str
) -> None:
    value = with_password(kiosk.warehouse_url, "wrong") if wrong == "password" else wrong
    changes: dict[str, Any] = {name: value, "more": s3_access(s3_endpoint)}
    lines = command(replace(kiosk, **changes), status=1)
    assert re.search(words, lines[-1])
    assert command(replace(kiosk, **changes), "--unchecked")[-1].startswith("saved block ")


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
