"""Objects stay below their prefix, whatever tables are called."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import settings
from pipeline.errors import SettingsError
from pipeline.lake.buckets import Bucket, folder
from tests.engine.hostile import NAMES, all_rows, insert, quoted
from tests.pair import Pair
from tests.support import s3_client, s3_filesystem

PATHS = ["..", "../../outside", "/etc", "a/b", "_manifests", "_resumed", "_results", "batch=1", "a%2Fb%20c"]


@pytest.fixture
def bucket_of(request: pytest.FixtureRequest, s3_endpoint: str, tmp_path: Path) -> Iterator[Any]:
    """A function that makes a bucket below a prefix, and one that lists all objects in and around it."""
    s3 = s3_client(s3_endpoint)
    name = f"hostile-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name)

    def make(kind: str, prefix: str) -> tuple[Bucket, Callable[[], list[str]]]:
        if kind == "folder":
            around = tmp_path / "around"
            around.mkdir()
            files = lambda: [str(p.relative_to(around)) for p in around.rglob("*") if p.is_file()]  # noqa: E731
            return folder(str(around / prefix)), files
        pages = s3.get_paginator("list_objects_v2")
        return Bucket(s3_filesystem(s3_endpoint), f"{name}/{prefix}", f"s3://{name}/{prefix}"), lambda: [
            found["Key"] for page in pages.paginate(Bucket=name) for found in page.get("Contents", [])
        ]

    yield make
    s3.close()


PREFIXES = ["a b", "a+b=c&d", "%20", "x'y;z", "{0}{{}}", "naïve 🧾", "100%s", "a?b#c", "*", "batch=1"]


@pytest.mark.campaign
@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_objects_lie_below_the_prefix_whatever_tables_are_called(
    shared: Pair, bucket_of: Any, kind: str
) -> None:
    """Neither a table nor a prefix leads out of the bucket, or into the folder of another table."""
    names = PATHS + ([name for name in NAMES if name != "*"] if kind == "folder" else [])
    models = {
        f"fact_{place}": f"-- key: id\nSELECT id, v FROM {quoted(name)}" for place, name in enumerate(names)
    }
    joins = {
        f"fact_join_{place}": f"-- key: id\nSELECT id, a.v FROM {quoted(name)} AS a JOIN o USING (id)"
        for place, name in enumerate(PATHS)
    }
    made = "".join(f"CREATE TABLE {name} (id int NOT NULL, v text);" for name in models | joins)
    shared.fresh(
        models | joins | {"schema": made},
        "CREATE TABLE o (id int PRIMARY KEY)",
        "INSERT INTO o VALUES (1), (2)",
        *(f"CREATE TABLE {quoted(name)} (id int PRIMARY KEY, v text)" for name in names),
    )
    prefix = "some/" + "/".join(PREFIXES)
    shared.house.raw, around = bucket_of(kind, prefix)
    for number in (1, 2):
        for name in names:
            insert(shared.source_url, name, [(number, name)])
        shared.run()
    for place, name in enumerate(names):
        for table in {f"fact_{place}", f"fact_join_{place}"} & (models | joins).keys():
            assert [row[:2] for row in all_rows(shared.house.url, table)] == [(1, name), (2, name)]
    objects = around()
    assert len(objects) >= 2 * len(names)
    assert [key for key in objects if not key.startswith(f"{prefix}/")] == []


def test_a_nul_byte_in_a_setting_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("TOTESYS_RAW_URI", "AWS_PROFILE"):
        (tmp_path / ".env").write_text(f"{name}=one\0two\n", encoding="utf-8")
        with pytest.raises(SettingsError, match=rf"^{name} in \.env holds a NUL byte; write it again$"):
            settings.load()
