"""The tools of the campaign do what its table says of them."""

from __future__ import annotations

import math
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults.__main__ import command
from tests.faults.campaign import Result
from tests.faults.listings import S3Server
from tests.faults.report import page
from tests.faults.shops import ROOT
from tests.support import s3_client

BUCKET = "listed"
CLOCK = """
import time
from datetime import UTC, datetime
from pipeline.models import inputs
from prefect.types import _datetime
from tests.faults.clocks import move_clock

move_clock(-86_400.0)
for moved in (inputs.datetime.now(UTC), _datetime.now("UTC"), datetime.fromtimestamp(time.time(), UTC)):
    print(round((datetime.now(UTC) - moved).total_seconds()))
print(isinstance(datetime.now(UTC), inputs.datetime))
"""


def test_the_page_has_the_command_that_repeats_the_campaign() -> None:
    short = Namespace(failures=5, minutes=2.0, jobs=1, engine=True)
    line = "python -m tests.faults --failures 5 --seed 7 --jobs 1 --minutes 2 --engine"
    assert command(short, 7) == line
    assert f"\n{line}\n" in page(Result(), line, seconds=60)
    assert command(Namespace(failures=500, minutes=math.inf, jobs=2, engine=False), 7).endswith("--jobs 2")


@pytest.fixture
def server() -> Iterator[S3Server]:
    running = S3Server()
    yield running
    running.close()


def client(server: S3Server) -> Any:
    return s3_client(f"http://127.0.0.1:{server.port}")


def test_new_objects_are_in_no_listing_and_can_be_read(server: S3Server) -> None:
    s3 = client(server)
    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key="a/after=1/old one.json", Body=b"1")
    server.age(60)
    server.delay = 30
    s3.put_object(Bucket=BUCKET, Key="a/after=2/new.json", Body=b"2")
    keys = [found["Key"] for found in s3.list_objects_v2(Bucket=BUCKET, Prefix="a/")["Contents"]]
    assert keys == ["a/after=1/old one.json"]
    folders = s3.list_objects_v2(Bucket=BUCKET, Prefix="a/", Delimiter="/")["CommonPrefixes"]
    assert folders == [{"Prefix": "a/after=1/"}]
    assert server.hidden == 2
    assert s3.get_object(Bucket=BUCKET, Key="a/after=2/new.json")["Body"].read() == b"2"
    server.age(60)
    assert s3.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 2


def test_a_workers_clock_is_moved_in_the_pipeline_and_in_prefect() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CLOCK], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["86400", "86400", "86400", "True"], done.stderr
