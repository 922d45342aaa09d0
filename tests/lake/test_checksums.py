"""Reads return what was written; any other byte is an error of one line that names the object."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import checksums
from demo.home import PROJECT
from pipeline.errors import BucketError, ObjectDamaged
from pipeline.lake.buckets import Bucket, File, folder
from pipeline.lake.checksums import BLOCK
from pipeline.lake.formats import with_digest
from pipeline.lake.manifest import Manifest
from pipeline.lake.manifests import read_manifest, seal, sealed_after
from pipeline.lake.state import compacted
from pipeline.lake.verification import verify
from tests.lake.earlier_formats import as_format_2
from tests.made_up import MadeUp

SCHEMA = pa.schema([pa.field("id", pa.int64()), pa.field("noise", pa.string())])  # type: ignore[arg-type]
ROWS = 60_000
# An example takes about 0.03 s.
thorough = settings(max_examples=max(60, settings.default.max_examples if settings.default else 0))


def noise(rows: int) -> pa.RecordBatch:
    """Incompressible rows, so that an object has several blocks."""
    return pa.record_batch([list(range(rows)), [os.urandom(24).hex() for _ in range(rows)]], schema=SCHEMA)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bucket, File]:
    """An object of several blocks and row groups."""
    bucket = folder(str(tmp_path_factory.mktemp("large")))
    (file,) = bucket.write_rows("t", SCHEMA, [noise(ROWS // 2), noise(ROWS // 2)])
    assert file.checksums is not None
    assert len(file.checksums) == -(-file.bytes // BLOCK) > 1
    return bucket, file


def path_of(bucket: Bucket, file: File) -> Path:
    return Path(bucket.root, file.path)


def flip(path: Path, at: int, bit: int) -> None:
    """Flip a bit of a file; flipping it twice restores the file."""
    with path.open("r+b") as stream:
        stream.seek(at)
        (byte,) = stream.read(1)
        stream.seek(at)
        stream.write(bytes([byte ^ (1 << bit)]))


@thorough
@given(st.floats(0, 1, exclude_max=True), st.integers(0, 7), st.sampled_from([["id"], ["id", "noise"]]))
def test_a_flipped_bit_is_detected(
    large: tuple[Bucket, File], where: float, bit: int, columns: list[str]
) -> None:
    bucket, file = large
    expected = bucket.dataset([file]).scanner(columns=columns).to_table()
    at = int(where * file.bytes)
    flip(path_of(bucket, file), at, bit)
    try:
        table = bucket.dataset([file]).scanner(columns=columns).to_table()
        assert columns == ["id"], "all that was read was held against its checksum"
        assert table.equals(expected)
    except ObjectDamaged as error:
        assert str(error).startswith(f"{bucket.uri}: {file.path} is not what was written: ")  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017
    finally:
        flip(path_of(bucket, file), at, bit)


def rewritten(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Replace an object with another valid Parquet file."""
    pq.write_table(change(pq.read_table(path)), path)


HARMS: dict[str, Callable[[Path, Path], object]] = {
    "its first rows": lambda path, _: rewritten(path, lambda table: table.slice(0, 100)),
    "without a column": lambda path, _: rewritten(path, lambda table: table.select(["id"])),
    "written anew": lambda path, _: rewritten(path, lambda table: table),
    "swapped": lambda path, other: path.write_bytes(other.read_bytes()),
    "cut": lambda path, _: path.write_bytes(path.read_bytes()[:-8]),
    "longer": lambda path, _: path.write_bytes(path.read_bytes() + b"x"),
    "empty": lambda path, _: path.write_bytes(b""),
}


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("of_earlier_release", [False, True])
def test_a_replaced_file_is_refused(tmp_path: Path, harm: str, of_earlier_release: bool) -> None:
    """Objects of earlier releases have no checksums, only their size and row count."""
    bucket = folder(str(tmp_path))
    (file,), (other,) = (bucket.write_rows("t", SCHEMA, [noise(rows)]) for rows in (5_099, 200))
    assert other is not None
    HARMS[harm](path_of(bucket, file), path_of(bucket, other))
    if of_earlier_release:
        file = file.model_copy(update={"checksums": None})
    with pytest.raises(ObjectDamaged, match=f"{file.path} is not what was written: .*; `make run` reads"):
        bucket.dataset([other, file], SCHEMA).to_table()


def test_a_file_of_the_same_size_with_other_rows_is_refused(tmp_path: Path) -> None:
    """For example one of an earlier release, which has no checksum."""
    bucket = folder(str(tmp_path))
    (file,) = bucket.write_rows("t", SCHEMA, [noise(10)])
    without_checksums = file.model_copy(update={"checksums": None, "rows": 11})
    with pytest.raises(ObjectDamaged, match="it has 10 rows instead of 11"):
        bucket.dataset([without_checksums], SCHEMA).to_table()


def test_an_object_in_s3_is_compared_with_its_checksums(s3_bucket: Callable[[str], Bucket]) -> None:
    bucket = s3_bucket("raw")
    (file,), (other,) = (bucket.write_rows("t", SCHEMA, [noise(40_000)]) for _ in range(2))
    assert other is not None
    assert bucket.dataset([file]).to_table().num_rows == 40_000
    with bucket.filesystem.open_input_file(f"{bucket.root}/{file.path}") as stream:
        whole = bytearray(stream.read())
    whole[len(whole) // 2] ^= 1
    with bucket.filesystem.open_output_stream(f"{bucket.root}/{file.path}") as stream:
        stream.write(bytes(whole))
    with pytest.raises(ObjectDamaged, match=f"{bucket.uri}: {file.path} is not what was written"):
        bucket.dataset([other, file]).to_table()


def test_the_lake_of_an_earlier_release_is_read_without_checksums(tmp_path: Path) -> None:
    raw = folder(str(PROJECT / "tests" / "releases" / "1" / "raw"))
    *_, progress = verify(raw, folder(str(tmp_path)), [])
    assert (progress.problems, progress.manifests) == ([], 3)
    assert progress.objects == progress.unchecked > 10


def test_an_object_that_is_no_longer_text_is_damaged(tmp_path: Path) -> None:
    bucket = folder(str(tmp_path))
    bucket.write_text("t/text", "whole")
    (tmp_path / "t" / "text").write_bytes(b"\x1f\x8b")
    with pytest.raises(ObjectDamaged, match="t/text is not what was written: it is not text"):
        bucket.read_text("t/text")


def test_the_cost_of_checksums_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["checksums", "50000"])
    checksums.main()
    shown = capsys.readouterr().out
    assert re.search(r"^50,000 sales, \d MB.*\nwritten: .* x\)\nread: .* x\)$", shown, re.DOTALL)


def test_the_checksum_of_a_small_object_is_its_sha256(tmp_path: Path) -> None:
    bucket = folder(str(tmp_path))
    (file,) = bucket.write_rows("t", SCHEMA, [noise(100)])
    assert file.bytes < BLOCK
    assert file.checksums == (sha256(path_of(bucket, file).read_bytes()).hexdigest(),)


def test_merging_gives_rows_of_earlier_releases_checksums(tmp_path: Path) -> None:
    raw = folder(str(tmp_path))
    source = MadeUp(raw, {"t": ({"id": "integer"}, ("id",))})
    source.batch({"t": [{"id": 1}]})
    table = source.batch({"t": [{"id": 2}]}).tables["t"]
    without = tuple(
        delta.model_copy(
            update={"files": tuple(file.model_copy(update={"checksums": None}) for file in delta.files)}
        )
        for delta in table.state or ()
    )
    merged = compacted(table.model_copy(update={"state": without}), "later", raw)
    assert merged.state is not None
    (delta,) = merged.state
    assert delta.rows == 2
    assert all(file.checksums for file in delta.files)


# Manifests


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bucket, Manifest]:
    """A bucket with two sealed batches, and the second of them."""
    raw = folder(str(tmp_path_factory.mktemp("lake")))
    source = MadeUp(raw, {"t": ({"id": "integer"}, ("id",))})
    first, second = (source.batch({"t": [{"id": number}]}) for number in (1, 2))
    for manifest in (first, second):
        seal(raw, manifest)
    return raw, second


@thorough
@given(st.floats(0, 1, exclude_max=True), st.integers(0, 7))
def test_a_manifest_with_a_flipped_bit_is_not_read(
    lake: tuple[Bucket, Manifest], where: float, bit: int
) -> None:
    raw, manifest = lake
    path = Path(raw.root, manifest.path)
    at = int(where * path.stat().st_size)
    flip(path, at, bit)
    try:
        with pytest.raises(
            ObjectDamaged, match=f"{re.escape(manifest.path)} is not what was written"
        ) as caught:
            read_manifest(raw, manifest.path)
        assert "\n" not in str(caught.value)
    finally:
        flip(path, at, bit)
    assert read_manifest(raw, manifest.path) == manifest


FORGED: dict[str, tuple[str, str]] = {
    "outside": (r'"path": "t/batch', '"path": "../t/batch'),
    "outside in the middle": (r'"path": "t/batch', '"path": "t/../../t/batch'),
    "absolute": (r'"path": "t/', '"path": "/t/'),
    "backslash": (r'"path": "t/', r'"path": "t\\\\..\\\\'),
    "of another table": (r'"path": "t/', '"path": "u/'),
    "fewer than no rows": (r'"rows": 1,', '"rows": -1,'),
    "fewer than no bytes": (r'"bytes": ', '"bytes": -'),
    "another batch": (r'"batch_id": "', '"batch_id": "9'),
    "a batch that is a path": (r'"batch_id": "', '"batch_id": "../'),
    "after another one": (r'"previous": "', '"previous": "1'),
    "no checksum of a block": (r'"checksums": \[[^]]*\]', '"checksums": []'),
    "no checksum at all": (r'"checksums": \[[^]]*\]', '"checksums": ["../x"]'),
    "another field": (r'"reconcile": false', '"reconcile": false, "else": 1'),
}


@pytest.mark.parametrize("forged", FORGED)
@pytest.mark.parametrize("format_", [2, 3])
def test_no_field_of_a_manifest_leads_elsewhere(
    lake: tuple[Bucket, Manifest], tmp_path: Path, forged: str, format_: int
) -> None:
    """Not even where the digest was recomputed, or in an earlier format, which has none."""
    _, manifest = lake
    raw = folder(str(tmp_path))
    seal(raw, manifest)
    written = json.loads(raw.read_text(manifest.path))
    del written["digest"]
    text = json.dumps(as_format_2(written) if format_ == 2 else written, indent=1)
    raw.write_text(manifest.path, with_digest(text) if format_ == 3 else text)
    assert read_manifest(raw, manifest.path).tables.keys() == manifest.tables.keys()
    altered, count = re.subn(*FORGED[forged], text)
    assert count
    raw.write_text(manifest.path, with_digest(altered) if format_ == 3 else altered)
    assert json.loads(altered), "it is still JSON"
    with pytest.raises(
        ObjectDamaged, match=f"{re.escape(manifest.path)} is not .*: it is not a manifest"
    ) as caught:
        read_manifest(raw, manifest.path)
    assert "\n" not in str(caught.value)


def test_a_damaged_manifest_is_skipped_where_another_batch_superseded_it(tmp_path: Path) -> None:
    raw = folder(str(tmp_path))
    source = MadeUp(raw, {"t": ({"id": "integer"}, ("id",))})
    first = source.batch({"t": [{"id": 1}]})
    source.last = None
    second = source.batch({"t": [{"id": 1}]})
    for manifest in (first, second):
        seal(raw, manifest)
    assert sealed_after(raw, None) == second
    raw.write_text(second.path, "{}")
    assert sealed_after(raw, None) == first
    raw.write_text(first.path, "{}")
    with pytest.raises(ObjectDamaged, match=re.escape(first.path)):
        sealed_after(raw, None)


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/x", "a//x", "a/./x", "a\\x", "", "a\nb", "a\0b"])
def test_a_bucket_has_nothing_outside_of_it(tmp_path: Path, path: str) -> None:
    bucket = folder(str(tmp_path / "bucket"))
    for act in (bucket.read_text, bucket.list, lambda path: bucket.write_text(path, "x")):
        with pytest.raises(BucketError, match="is not a path below this bucket") as caught:
            act(path)
        assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["x.json", "t/after=nothing/x.json", "_manifests/after=../x.json"])
def test_a_manifest_lies_among_manifests(tmp_path: Path, path: str) -> None:
    with pytest.raises(BucketError, match="is not the path of a manifest"):
        read_manifest(folder(str(tmp_path)), path)
