"""Buckets: a folder and an S3 prefix behave the same, and nothing is overwritten."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.backends import get_backend

from pipeline.erasure.search import Needles, search_lake
from pipeline.errors import BucketError, ObjectMissing
from pipeline.lake import chains, manifests
from pipeline.lake.buckets import Bucket, folder
from pipeline.recovery import checkpoints
from tests.made_up import MadeUp
from tests.support import s3_filesystem

SCHEMA = pa.schema([pa.field("id", pa.int64()), pa.field("v", pa.string())])  # type: ignore[arg-type]


def rows(*ids: int) -> pa.RecordBatch:
    return pa.record_batch([list(ids), [f"row {i}" for i in ids]], schema=SCHEMA)


@pytest.fixture(params=["folder", "s3", "s3 with a prefix"])
def bucket(request: pytest.FixtureRequest, tmp_path: Path) -> Bucket:
    """An empty bucket of either kind."""
    if request.param == "folder":
        return folder(str(tmp_path / "bucket"))
    make: Callable[[str], Bucket] = request.getfixturevalue("s3_bucket")
    bucket = make("raw")
    if request.param == "s3":
        return bucket
    return Bucket(bucket.filesystem, f"{bucket.root}/some/prefix", f"{bucket.uri}/some/prefix")


def test_rows_come_back_as_they_were(bucket: Bucket) -> None:
    (file,) = bucket.write_rows("t/batch=1", SCHEMA, iter([rows(1, 2), rows(3)]))
    assert (file.rows, file.path.startswith("t/batch=1/part-")) == (3, True)
    table = bucket.dataset([file]).to_table().sort_by("id")
    assert table.schema.equals(SCHEMA)
    assert table.to_pylist() == [{"id": i, "v": f"row {i}"} for i in (1, 2, 3)]
    info = bucket.filesystem.get_file_info(f"{bucket.root}/{file.path}")
    assert info.size == file.bytes


def test_rows_are_written_some_megabytes_at_a_time(bucket: Bucket) -> None:
    many = pa.record_batch([[7] * 100_000, ["x" * 10] * 100_000], schema=SCHEMA)
    (file,) = bucket.write_rows("t", SCHEMA, [*(rows(i) for i in range(500)), many, many, many])
    with bucket.filesystem.open_input_file(f"{bucket.root}/{file.path}") as stream:
        metadata = pq.read_metadata(stream)
    sizes = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    assert sizes == [200_500, 100_000]
    assert bucket.dataset([file]).to_table().num_rows == file.rows == 300_500


def test_missing_and_truncated_files_are_detected(bucket: Bucket) -> None:
    (file,), (other,) = (bucket.write_rows("t", SCHEMA, [rows(number)]) for number in (1, 2))
    assert other is not None
    assert bucket.holds([file, other])
    assert bucket.holds([])
    assert not bucket.holds([file, other.model_copy(update={"bytes": other.bytes + 1})])
    assert not bucket.holds([file.model_copy(update={"path": "t/no-such"}), other])


def test_no_rows_make_no_object(bucket: Bucket) -> None:
    assert bucket.write_rows("t", SCHEMA, iter([])) == ()
    assert bucket.list("t") == []


def test_a_name_is_never_used_again(bucket: Bucket) -> None:
    files = [file for i in range(3) for file in bucket.write_rows("t", SCHEMA, [rows(i)])]
    paths = {file.path for file in files}
    assert len(paths) == 3
    assert set(bucket.list("t")) == paths


def test_files_of_one_table_are_read_together_with_requested_columns(bucket: Bucket) -> None:
    (one,) = bucket.write_rows("t", SCHEMA, [rows(1)])
    (two,) = bucket.write_rows("t", SCHEMA, [rows(2)])
    assert one is not None
    assert two is not None
    wider = SCHEMA.append(pa.field("new", pa.date32()))
    table = bucket.dataset([one, two], wider).to_table().sort_by("id")
    assert table["id"].to_pylist() == [1, 2]
    assert table["new"].to_pylist() == [None, None]


def test_text_comes_back_as_it_was(bucket: Bucket) -> None:
    text = '{"naïve": "🧾\\n"}\n'
    bucket.write_text("_manifests/after=nothing/a.json", text)
    assert bucket.read_text("_manifests/after=nothing/a.json") == text


def test_a_listing_holds_the_folder_and_not_what_lies_deeper(bucket: Bucket) -> None:
    for path in ("a/2", "a/1", "a/deeper/3", "ab/4", "a=b/5"):
        bucket.write_text(path, "x")
    assert bucket.list("a") == ["a/1", "a/2"]
    assert bucket.list("a=b") == ["a=b/5"]
    assert bucket.list("missing") == []


def test_a_listing_does_not_stop_at_a_thousand(tmp_path: Path, s3_bucket: Callable[[str], Bucket]) -> None:
    local, remote = folder(str(tmp_path)), s3_bucket("raw")
    (tmp_path / "many").mkdir()
    store = get_backend("s3")["123456789012"]["aws"]  # the server's own, which is quick
    for number in range(1_020):
        (tmp_path / "many" / str(number)).touch()
        store.put_object(remote.root, f"many/{number}", b"x")
    assert len(local.list("many")) == len(remote.list("many")) == 1_020


def test_a_missing_object_is_named(bucket: Bucket) -> None:
    with pytest.raises(ObjectMissing) as caught:
        bucket.read_text("t/gone.json")
    assert str(caught.value).startswith(f"{bucket.uri}: t/gone.json does not exist: ")
    assert "\n" not in str(caught.value)


class Interrupted(Exception):
    """An error while rows are written."""


def test_a_write_that_fails_leaves_no_object(bucket: Bucket) -> None:
    def failing() -> Iterator[pa.RecordBatch]:
        yield rows(1)
        raise Interrupted

    with pytest.raises(Interrupted):
        bucket.write_rows("t", SCHEMA, failing())
    assert bucket.list("t") == []


def test_rows_of_another_shape_are_refused_and_leave_nothing(bucket: Bucket) -> None:
    other = pa.record_batch([[1]], names=["id"])
    with pytest.raises((pa.ArrowInvalid, ValueError)):
        bucket.write_rows("t", SCHEMA, [rows(1), other])
    assert bucket.list("t") == []


@pytest.mark.parametrize("action", ["write", "read"])
def test_a_bucket_that_does_not_exist_is_named(s3_endpoint: str, action: str) -> None:
    bucket = Bucket(s3_filesystem(s3_endpoint), "no-such-bucket", "s3://no-such-bucket")
    actions: dict[str, Callable[[], object]] = {
        "write": lambda: bucket.write_rows("t", SCHEMA, [rows(1)]),
        "read": lambda: bucket.read_text("t/x"),
    }
    with pytest.raises(BucketError, match="s3://no-such-bucket") as caught:
        actions[action]()
    assert "\n" not in str(caught.value)
    if action == "write":
        assert "the bucket does not exist" in str(caught.value)


@dataclass
class Failing:
    """A file system that fails whenever something is written."""

    error: OSError

    def open_output_stream(self, path: str) -> object:
        raise self.error


def write_to(failing: Failing) -> None:
    Bucket(failing, "root", "/root").write_text("a/b", "x")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("[Errno 30] Read-only file system: '/x'", "the file system is read-only"),
        (
            "[Errno 1] Operation not permitted: '/x'",
            "the system allows nobody to write here; set TOTESYS_RAW",
        ),
        ("[Errno 40] Too many levels of symbolic links: '/x'", "its links lead in a circle; set TOTESYS_RAW"),
    ],
)
def test_a_refusal_names_folder_object_and_reason(error: str, reason: str) -> None:
    with pytest.raises(BucketError, match=f"^/root: cannot write a/b: {reason}"):
        write_to(Failing(OSError(error)))


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "the disk is full; free some room"),
        (errno.EDQUOT, "the quota of the pipeline's user is reached"),
        (errno.EFBIG, "the system allows no file of this size"),
        (errno.EIO, "the disk fails"),
    ],
)
def test_a_failure_that_is_left_to_a_retry_is_named(number: int, reason: str) -> None:
    with pytest.raises(OSError, match=f"^/root: cannot write a/b: {reason}") as caught:
        write_to(Failing(OSError(number, os.strerror(number))))
    assert not isinstance(caught.value, BucketError)


def test_another_failure_is_left_to_a_retry_as_it_is() -> None:
    error = OSError("Conversion Error: of DuckDB, while its rows are written")
    with pytest.raises(OSError, match="Conversion") as caught:
        write_to(Failing(error))
    assert caught.value is error


@pytest.mark.parametrize("case", ["nothing there", "a file", "a long name"])
def test_a_folder_that_cannot_be_created_is_named_with_the_setting_to_change(
    tmp_path: Path, case: str
) -> None:
    path = tmp_path / ("x" * 300 if case == "a long name" else "link") / "raw"
    if case == "nothing there":
        (tmp_path / "link").symlink_to("/proc/nothing")
    elif case == "a file":
        (tmp_path / "link").touch()
    with pytest.raises(
        BucketError, match=r"; set TOTESYS_RAW_URI or TOTESYS_PROCESSED_URI to another folder$"
    ) as caught:
        folder(str(path)).check()
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_rights_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(BucketError, match="permission denied"):
        folder(str(tmp_path)).write_text("a/b", "x")
    tmp_path.chmod(0o700)


def test_a_folder_may_be_named_with_a_slash_at_its_end(tmp_path: Path) -> None:
    folder(f"{tmp_path}/").write_text("a/b", "x")
    assert folder(str(tmp_path)).read_text("a/b") == "x"


def test_what_a_killed_run_has_left_unfinished_is_no_object(tmp_path: Path) -> None:
    bucket = folder(str(tmp_path))
    manifest = MadeUp(bucket, {"t": ({"id": "integer"}, ("id",))}).batch({})
    batch = manifest.batch_id
    (tmp_path / "_sealed/w").mkdir(parents=True)
    (tmp_path / f"_manifests/after={batch}").mkdir(parents=True)
    left = f"_sealed/w/.{batch}.json.0123", f"_manifests/after={batch}/.b.json.4567"
    for path in left:
        (tmp_path / path).write_text("half", encoding="utf-8")
    assert chains.recorded_seals(bucket) == []
    assert chains.find(bucket) == []
    assert not manifests.is_followed(bucket, manifest)
    needles = Needles.of({"name": ["half"]}, ())
    found = {hit.where for hit in search_lake("raw", bucket, needles, ())}
    assert found == {f"raw {path}" for path in left}, "a value in it is found"
    checkpoints.remove(bucket, "_sealed")
    assert [*bucket.all_paths()] == [left[1]], "and it can be removed"
