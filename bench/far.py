"""A small shop near its services and far away: the same runs, the second time through proxies that delay."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import boto3
import psycopg
from moto.moto_server.threaded_moto_server import ThreadedMotoServer

from bench.delays import Delays
from bench.figures import FAR, NEAR, SMALL_CHANGED, SMALL_FIRST, SMALL_NOTHING
from bench.prefect_runs import Flows
from demo import shop
from demo.postgres import HOST

# Seconds of a round trip to Prefect Cloud, to S3 and to databases, as a laptop or a small task sees them.
_TO_PREFECT, _TO_S3, _TO_DATABASES = 0.080, 0.020, 0.002
_ORDERS = 300
_KEY = "bench"

Database = Callable[[str], AbstractContextManager[tuple[str, Path]]]
Note = Callable[[str, str, dict[str, float]], None]


@dataclass(frozen=True)
class _Place:
    """A distance from the services; ``seen`` is how a service's URL is written from there."""

    name: str
    seen: Callable[[str], str]


def measure(database: Database, api: str, note: Note) -> None:
    """Run a first load, one with changes and one without, near and far; ``note`` gets the figures.

    ``database`` makes a database for a block, ``api`` is Prefect's.
    """
    with _s3() as s3:
        delays = Delays()
        seconds = {urlsplit(api).port: _TO_PREFECT, urlsplit(s3).port: _TO_S3}

        def delayed(url: str) -> str:
            parts = urlsplit(url)
            port = delays.through(parts.port or 0, seconds.get(parts.port, _TO_DATABASES))
            return urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.port}", f":{port}")))

        for place in (_Place(NEAR, lambda url: url), _Place(FAR, delayed)):
            with database("shop") as (source, _), database("warehouse of the shop") as (warehouse, _):
                _make_shop(source)
                access = _bucket(s3, place.name)
                access["AWS_ENDPOINT_URL_S3"] = place.seen(s3)
                buckets = f"s3://{place.name}"
                Flows(api).connect(place.seen(source), place.seen(warehouse), buckets, **access)
                _run(Flows(place.seen(api)), source, place.name, note)


def _run(flows: Flows, source: str, place: str, note: Note) -> None:
    note(SMALL_FIRST, place, flows.run())
    shop.working_day(source)
    note(SMALL_CHANGED, place, flows.run())
    note(SMALL_NOTHING, place, flows.run())


def _make_shop(url: str) -> None:
    with psycopg.connect(url) as connection:
        shop.create(connection)
        shop.fill(connection, _ORDERS)


@contextmanager
def _s3() -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # it logs each request
    server = ThreadedMotoServer(HOST, 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def _bucket(s3: str, name: str) -> dict[str, str]:
    """Make an empty bucket; returns the settings for access to the server."""
    keys = {"aws_access_key_id": _KEY, "aws_secret_access_key": _KEY}
    client = boto3.client("s3", endpoint_url=s3, region_name="us-east-1", **keys)
    client.create_bucket(Bucket=name)
    return {name.upper(): value for name, value in keys.items()} | {"AWS_REGION": "us-east-1"}
