"""S3 as the engine uses it: streams, ranges, interrupted responses, and credentials that change."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from threading import Barrier
from typing import Any

import boto3
import pyarrow as pa
import pytest
from botocore.config import Config
from hypothesis import given
from hypothesis import strategies as st
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from pyarrow import fs
from werkzeug.wrappers import Response

from pipeline.errors import BucketError, ObjectDamaged
from pipeline.lake.buckets import Bucket, Usage
from pipeline.lake.s3 import S3
from tests.s3_server import CREDENTIALS, Seen, Server, refusal
from tests.support import reopened

NOISE = random.Random(1).randbytes(40 << 20)
SCHEMA = pa.schema([pa.field("id", pa.int64())])


@pytest.fixture
def server(recording_s3: Server) -> Server:
    return recording_s3.renewed()


def bucket_of(server: Server, **keys: Any) -> Bucket:
    """A new bucket, with a client that has these credentials."""
    keys = keys or {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
    client = boto3.client(
        "s3",
        endpoint_url=server.url,
        region_name="us-east-1",
        config=Config(retries={"mode": "standard", "max_attempts": 2}),
        **keys,
    )
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=name)
    return Bucket(fs.PyFileSystem(S3(client)), f"{name}/pre fix", f"s3://{name}/pre fix")


@pytest.fixture(scope="module")
def noise(recording_s3: Server) -> Bucket:
    """A bucket with an object of 40 MB, uploaded in parts."""
    bucket = bucket_of(recording_s3.renewed())
    with bucket.filesystem.open_output_stream(f"{bucket.root}/noise") as stream:
        for start in range(0, len(NOISE), 1 << 20):
            stream.write(NOISE[start : start + (1 << 20)])
    return bucket


def test_a_large_object_arrives_whole(noise: Bucket) -> None:
    with noise.filesystem.open_input_file(f"{noise.root}/noise") as stream:
        assert stream.size() == len(NOISE)
        assert stream.read() == NOISE


@given(st.integers(0, 41 << 20), st.integers(0, 200_000))
def test_any_range_is_read_as_it_was_written(noise: Bucket, start: int, count: int) -> None:
    with noise.filesystem.open_input_file(f"{noise.root}/noise") as stream:
        for at in (start, max(0, len(NOISE) - count - 1), 0):
            stream.seek(at)
            assert stream.read(count) == NOISE[at : at + count]
            assert stream.tell() == at + len(NOISE[at : at + count])


def test_a_small_file_costs_one_request_to_write_and_one_to_read(server: Server) -> None:
    bucket = bucket_of(server)
    server.seen.clear()
    (file,) = bucket.write_rows("t", SCHEMA, [pa.record_batch([[1, 2, 3]], schema=SCHEMA)])
    other = reopened(bucket)
    assert other.holds([file])
    for _ in range(2):
        assert other.dataset([file], SCHEMA).to_table()["id"].to_pylist() == [1, 2, 3]
    assert [seen.method for seen in server.seen] == ["PUT", "GET"]


def test_what_was_just_written_is_not_requested(server: Server) -> None:
    bucket = bucket_of(server)
    server.seen.clear()
    bucket.write_text("text", "some text")
    (file,) = bucket.write_rows("t", SCHEMA, [pa.record_batch([[1, 2, 3]], schema=SCHEMA)])
    assert bucket.read_text("text") == "some text"
    assert bucket.dataset([file], SCHEMA).to_table()["id"].to_pylist() == [1, 2, 3]
    assert [seen.method for seen in server.seen] == ["PUT", "PUT"]
    bucket.remove(file.path)
    assert not bucket.holds([file])


def test_small_files_are_requested_side_by_side(server: Server) -> None:
    """Each request waits until another one has arrived."""
    bucket = bucket_of(server)
    files = [
        file
        for n in range(2)
        for file in bucket.write_rows("t", SCHEMA, [pa.record_batch([[n]], schema=SCHEMA)])
    ]
    together = Barrier(2)

    def wait(seen: Seen) -> None:
        if seen.method == "GET":
            together.wait(timeout=20)

    server.refuse = wait
    table = reopened(bucket).dataset(files, SCHEMA).to_table()
    assert set(table["id"].to_pylist()) == {0, 1}


def test_an_empty_object_is_not_what_was_written(server: Server) -> None:
    bucket = bucket_of(server)
    (file,) = bucket.write_rows("t", SCHEMA, [pa.record_batch([[1]], schema=SCHEMA)])
    bucket.write_text(file.path, "")
    assert not reopened(bucket).holds([file])
    with pytest.raises(ObjectDamaged, match="it has 0 bytes"):
        reopened(bucket).dataset([file], SCHEMA).to_table()


def test_a_response_that_is_cut_off_is_requested_again(server: Server) -> None:
    bucket = bucket_of(server)
    bucket.write_text("text", "all of it")
    cut = iter([True, False])

    def half(seen: Seen) -> Response | None:
        if seen.method == "GET" and next(cut):
            return Response(iter([b"all"]), headers={"Content-Length": "9"})
        return None

    server.refuse = half
    assert bucket.read_text("text") == "all of it"


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_an_upload_that_is_refused_midway_fails_at_once_and_leaves_nothing(
    server: Server, method: str
) -> None:
    """The writer must not wait for a reader that has ended."""
    bucket = bucket_of(server)
    server.refuse = lambda seen: (
        refusal("AccessDenied", 403) if seen.method == method and "upload" in seen.path else None
    )
    chunks = (pa.record_batch([pa.array(range(n, n + 1_000_000))], schema=SCHEMA) for n in range(10**9))
    with pytest.raises(BucketError, match="access denied; the role needs s3:PutObject here"):
        bucket.write_rows("t", SCHEMA, (_shuffled(chunk) for chunk in chunks))
    assert bucket.list("t") == []
    client = bucket.filesystem.handler.client  # type: ignore[attr-defined]
    assert client.list_multipart_uploads(Bucket=bucket.root.partition("/")[0]).get("Uploads", []) == []


def _shuffled(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Incompressible numbers."""
    values = pa.array(memoryview(NOISE[: 8 * batch.num_rows]).cast("q"), pa.int64())
    return pa.record_batch([values], schema=batch.schema)


def test_a_stream_that_is_open_for_long_uses_renewed_credentials(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each part is signed with another key; the server accepts the last four only."""
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", server.url + CREDENTIALS)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    bucket = bucket_of(server, aws_session_token=None)
    server.lifetime = 4
    with bucket.filesystem.open_output_stream(f"{bucket.root}/long") as stream:
        stream.write(NOISE)
    with bucket.filesystem.open_input_file(f"{bucket.root}/long") as stream:
        for at in range(0, len(NOISE), 4 << 20):
            stream.seek(at)
            assert stream.read(1000) == NOISE[at : at + 1000]
    keys = [seen.key for seen in server.seen]
    assert len(set(keys)) == len(keys) > 10


def test_objects_are_counted_over_s3(s3_bucket: Callable[[str], Bucket]) -> None:
    bucket = s3_bucket("usage")
    assert bucket.usage() == Usage()
    server = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    for number in range(1100):  # more than a page of a listing holds, and too many to send one by one
        name = f"few/batch={number}/{number}" if number < 3 else f"many/{number}"
        server.put_object(bucket.root, name, b"12345")
    bucket.write_text("on top", "1")
    assert bucket.usage() == Usage(objects=1101, bytes=5501)
