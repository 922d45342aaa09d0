"""No secret is in anything that a run leaves: logs, API, artifacts, results, manifests, rows, errors."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prefect.client.schemas.filters import ArtifactFilter

from tests.flows.conftest import open_kiosk, s3_buckets
from tests.flows.support import World, client, query, with_password
from tests.support import s3_client

SECRET_KEY = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
HASH_KEY = "a key of hashes that nobody is to see"
ITEMS = "SELECT item_id, label, price FROM item"
WRONG = "hunter2/is:wrong@all"
REFUSAL = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'not %', NEW USING ERRCODE = 'check_violation'; END $$;
    CREATE TRIGGER refuse BEFORE INSERT ON fact_sale FOR EACH ROW EXECUTE FUNCTION refuse()
"""


class Kept(logging.Handler):
    """Keeps every record, of every level and logger, as it would be shown, with its arguments and its end."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(logging.Formatter("%(name)s %(message)s"))
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += [self.format(record), repr(record.args)]


@dataclass(frozen=True)
class Left:
    """What three runs left, as bytes by where it is; and the secrets that they were given."""

    found: dict[str, bytes]
    secrets: frozenset[str]

    def where(self, secret: str) -> list[str]:
        """Where a secret stands, as it is or as URLs write it."""
        forms = {
            secret,
            quote(secret, safe=""),
            quote(secret),
            quote(secret, safe="~!*'()"),
            repr(secret)[1:-1],
        }
        return [name for name, held in self.found.items() if any(form.encode() in held for form in forms)]


@pytest.fixture(scope="module", params=["folder", pytest.param("s3", marks=pytest.mark.campaign)])
def left(request: pytest.FixtureRequest, make_world: Callable[..., World]) -> Left:
    """A run with work to do, one with a wrong password for each database, and one whose rows are refused."""
    world = open_kiosk(make_world)
    world = World(**(vars(world) | {"more": {"TOTESYS_HASH_KEY": HASH_KEY}}))
    (world.transforms / "dim_item.sql").write_text(f"-- personal: hash label\n{ITEMS}", encoding="utf-8")
    if request.param == "s3":
        changes = s3_buckets(request.getfixturevalue("s3_endpoint"))
        changes["more"] = changes["more"] | world.more | {"AWS_SECRET_ACCESS_KEY": SECRET_KEY}
        world = World(**(vars(world) | changes))
    kept = Kept()
    loggers = [logging.getLogger(), *(logging.getLogger(name) for name in ("prefect", "prefect.flow_runs"))]
    loggers.append(logging.getLogger("prefect.task_runs"))
    for logger in loggers:
        logger.addHandler(kept)
    try:
        runs = [world.run()]
        query(world.source_url, "UPDATE sale SET pieces = pieces + 1")
        runs.append(replace(world, source_url=with_password(world.source_url, WRONG)).run())
        runs.append(replace(world, warehouse_url=with_password(world.warehouse_url, WRONG)).run())
        if request.param == "s3":
            query(world.warehouse_url, REFUSAL)
            runs.append(world.run())
    finally:
        for logger in loggers:
            logger.removeHandler(kept)
    assert [run.state.is_completed() for run in runs] == [True, False, False, True][: len(runs)]
    found = {f"log record {number}": line.encode() for number, line in enumerate(kept.lines)}
    for number, run in enumerate(runs):
        found[f"error of run {number}"] = f"{run.error!r} {run.state!r}".encode()
    found |= of_the_api([run.id for run in runs]) | of_the_buckets(world) | of_the_warehouse(world)
    passwords = {urlsplit(url).password or "" for url in (world.source_url, world.warehouse_url)}
    assert query(world.warehouse_url, "SELECT DISTINCT length(label) FROM dim_item") == [(64,)]
    secrets = {unquote(password) for password in passwords} | {WRONG, HASH_KEY}
    secrets |= {bytes(byte ^ mask for byte in HASH_KEY.encode()).hex() for mask in (0x36, 0x5C)}
    if request.param == "s3":
        secrets.add(SECRET_KEY)
    return Left(found, frozenset(secrets))


def of_the_api(runs: list[Any]) -> dict[str, bytes]:
    """All that the Prefect server tells of these runs and their subflows."""
    found: dict[str, bytes] = {}
    with client() as prefect:
        tasks = prefect.read_task_runs()
        flows = prefect.read_flow_runs()
        found |= {f"API run {run.id}": run.model_dump_json().encode() for run in (*tasks, *flows)}
        for offset in range(0, 10_000, 200):
            page = prefect._client.post("/logs/filter", json={"offset": offset}).json()
            found |= {f"API log {record['id']}": record["message"].encode() for record in page}
            if not page:
                break
        page = prefect._client.post("/events/filter", json={"limit": 50}).json()
        while page["events"]:
            found |= {f"API event {event['id']}": json.dumps(event).encode() for event in page["events"]}
            if not page["next_page"]:
                break
            page = prefect._client.get(page["next_page"]).json()
        for artifact in prefect.read_artifacts(artifact_filter=ArtifactFilter()):
            found[f"artifact {artifact.id}"] = artifact.model_dump_json().encode()
    assert {str(run) for run in runs} <= {str(run.id) for run in flows}
    return found


def of_the_buckets(world: World) -> dict[str, bytes]:
    """Every object of both buckets, and what Parquet objects hold unpacked."""
    found: dict[str, bytes] = {}
    for uri in (world.raw_uri, world.processed_uri):
        if uri.startswith("s3://"):
            s3, bucket = s3_client(world.more["AWS_ENDPOINT_URL_S3"]), uri.split("/")[2]
            for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
                for entry in page.get("Contents", []):
                    body = s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
                    found[f"{bucket}/{entry['Key']}"] = entry["Key"].encode() + body
        else:
            for path in Path(uri).rglob("*"):
                if path.is_file():
                    found[str(path)] = os.fsencode(path) + path.read_bytes()
    unpacked = {
        f"rows of {name}": str(
            pq.read_table(pa.BufferReader(body[body.index(b"PAR1") :])).to_pylist()
        ).encode()
        for name, body in found.items()
        if name.endswith(".parquet")
    }
    assert unpacked
    assert any("_results" in name for name in found)
    assert any("_manifests" in name for name in found)
    return found | unpacked


def of_the_warehouse(world: World) -> dict[str, bytes]:
    """The pipeline's own records in the warehouse."""
    names = ("batch", "watermark", "model", "rejected", "version")
    return {
        f"etl.{name}": str(query(world.warehouse_url, f"SELECT t::text FROM etl.{name} AS t")).encode()
        for name in names
    }


def test_no_secret_is_in_anything_that_runs_leave(left: Left) -> None:
    assert len(left.secrets) >= 2
    assert {secret: left.where(secret) for secret in left.secrets} == {secret: [] for secret in left.secrets}


def test_the_search_for_secrets_finds_them(left: Left) -> None:
    """Otherwise the other test would prove nothing: a wrong password's role and a batch are found."""
    kinds = (
        "log record",
        "API log",
        "API run",
        "API event",
        "artifact",
        "error of run",
        "rows of",
        "etl.batch",
    )
    assert {kind for kind in kinds if any(name.startswith(kind) for name in left.found)} == set(kinds)
    assert left.where("password authentication failed")
    hidden = replace(left, found={"log": quote(WRONG, safe="").encode()})
    assert hidden.where(WRONG) == ["log"]
