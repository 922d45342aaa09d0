"""Helpers of all tests: databases, queries, models in a folder, rows of Parquet objects."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import boto3
import psycopg
from pyarrow import fs

from demo.postgres import Postgres
from pipeline.lake.buckets import Bucket, File
from pipeline.lake.s3 import S3
from pipeline.models import library
from pipeline.models.library import Model

Row = dict[str, Any]


KEY = "testing"


# Which test shows a row of the runbook's table of what was lost.
SHOWN: dict[str, str] = {}


Test = TypeVar("Test", bound=Callable[..., None])


def shows(lost: str) -> Callable[[Test], Test]:
    """Register the row of the runbook's table that a test checks."""

    def of(test: Test) -> Test:
        SHOWN[lost] = test.__name__
        return test

    return of


@contextmanager
def database(server: Postgres, purpose: str, options: str = "") -> Iterator[str]:
    """The URL of a fresh database, which is dropped when the block ends."""
    url = new_database(server, purpose, options)
    yield url
    execute(server.url("postgres"), f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")


def new_database(server: Postgres, purpose: str, options: str = "") -> str:
    """The URL of a fresh database, which stays as long as the server."""
    name = f"{purpose}_{uuid.uuid4().hex[:12]}"
    # In memory, files are copied more quickly than pages are logged.
    strategy = "STRATEGY file_copy" if server.version >= 15 else ""
    execute(server.url("postgres"), f"CREATE DATABASE {name} {options} {strategy}")
    return server.url(name)


def end_sessions(url: str) -> None:
    """End all other sessions of a database."""
    execute(
        url,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )


def reopened(bucket: Bucket) -> Bucket:
    """A bucket in S3 as another process has it, which has read and written nothing yet."""
    client = bucket.filesystem.handler.client  # type: ignore[attr-defined]
    return Bucket(fs.PyFileSystem(S3(client)), bucket.root, bucket.uri)


def s3_client(endpoint: str, access: tuple[str, str] = (KEY, KEY)) -> Any:
    """A client of an S3 server, with a key and its secret; moto takes any."""
    key, secret = access
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
    )


def s3_filesystem(endpoint: str) -> fs.PyFileSystem:
    """A connection to the S3 server."""
    return fs.PyFileSystem(S3(s3_client(endpoint)))


def execute(url: str, *statements: str) -> None:
    """Run statements, each committed by itself."""
    with psycopg.connect(url, autocommit=True) as connection:
        for text in statements:
            connection.execute(text.encode())


def query(url: str, text: str) -> list[tuple[Any, ...]]:
    """Rows of a query."""
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(text.encode()).fetchall()


def value(url: str, text: str) -> Any:
    """The one value of a query."""
    ((only,),) = query(url, text)
    return only


def counted(url: str, text: str) -> Any:
    """The one value of a query of Postgres's counters, which sessions report at their end.

    Waits until all other sessions of the database have ended, parallel workers too.
    """
    others = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    while query(url, others):
        time.sleep(0.01)
    return value(url, text)


def write_models(folder: Path, files: Mapping[str, str]) -> dict[str, Model]:
    """Write models (and schema.sql) into a folder and load them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.sql").write_text(text, encoding="utf-8")
    return library.load(folder)


def parquet_rows(bucket: Bucket, files: Sequence[File]) -> list[Row]:
    """The rows of Parquet objects."""
    found: list[Row] = bucket.dataset(files).to_table().to_pylist() if files else []
    return found
