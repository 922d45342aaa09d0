"""Stored results are read as validated JSON only, whoever wrote them."""

from __future__ import annotations

import base64
import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect.client.schemas.objects import TaskRun

from tests.flows.conftest import open_kiosk
from tests.flows.saved import SavedWorld
from tests.flows.support import World, query

COUNTS = "SELECT (SELECT count(*) FROM dim_item), (SELECT count(*) FROM fact_sale_current)"


class Hostile:
    """Touches a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Path]]:
        return Path.touch, (self.marker,)


def record(serializer: dict[str, Any], result: str) -> str:
    """A result as Prefect stores it, which names how it wants to be read."""
    return json.dumps({"metadata": {"serializer": serializer, "prefect_version": "3.8.8"}, "result": result})


def pickled(marker: Path, kept: str) -> str:
    return record({"type": "pickle"}, base64.encodebytes(pickle.dumps(Hostile(marker))).decode())


def pickled_as_old_versions_stored_it(marker: Path, kept: str) -> str:
    data = base64.encodebytes(pickle.dumps(Hostile(marker))).decode()
    return json.dumps({"serializer": {"type": "pickle"}, "data": data, "prefect_version": "2.0"})


def of_a_class_that_is_imported(marker: Path, kept: str) -> str:
    module = marker.with_name("hostile_module.py")
    module.write_text(f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n", encoding="utf-8")
    return record({"type": "json"}, json.dumps({"__class__": "hostile_module.Any", "data": {}}))


def decoded_by_a_function_of_its_choice(marker: Path, kept: str) -> str:
    of_a_class_that_is_imported(marker, kept)
    return record({"type": "json", "object_decoder": "hostile_module.decode"}, "{}")


def of_another_kind(marker: Path, kept: str) -> str:
    return '{"batch_id": "x"}'


def with_files_of_another_table(marker: Path, kept: str) -> str:
    return re.sub(r'("path": ?")[^/"]+/', r"\1other/", kept)


def with_files_outside_the_bucket(marker: Path, kept: str) -> str:
    return re.sub(r'("path": ?"[^/"]+/batch=[^/"]+/)', r"\1../../../../", kept)


def cut_off(marker: Path, kept: str) -> str:
    return kept[: len(kept) // 2]


HARMS = [
    pickled,
    pickled_as_old_versions_stored_it,
    of_a_class_that_is_imported,
    decoded_by_a_function_of_its_choice,
    of_another_kind,
    with_files_of_another_table,
    with_files_outside_the_bucket,
    cut_off,
]


@pytest.fixture(scope="module")
def saved(make_world: Callable[..., World]) -> SavedWorld:
    """A kiosk whose first batch is sealed, and of whose models one still has to run."""
    kiosk = open_kiosk(make_world)
    model = kiosk.transforms / "dim_item.sql"
    right = model.read_text(encoding="utf-8")
    unreadable = "CAST(CAST(label AS integer) AS varchar) AS label,"
    model.write_text(right.replace("label,", unreadable), encoding="utf-8")
    assert not kiosk.run().state.is_completed()
    model.write_text(right, encoding="utf-8")
    return SavedWorld.of(kiosk)


@pytest.fixture
def sealed(saved: SavedWorld) -> World:
    """That kiosk, again in this state."""
    return saved.restore()


def results(uri: str) -> list[Path]:
    return [path for path in Path(uri, "_results").rglob("*") if path.is_file()]


def finish(world: World) -> dict[str, TaskRun]:
    """Run the flow, which finishes the sealed batch; the task runs that read or transform."""
    run = world.run()
    assert run.state.is_completed(), run.error
    assert query(world.warehouse_url, COUNTS) == [(3, 3)]
    names = {"extract item", "extract sale", "transform dim_item", "transform fact_sale"}
    return {name: task for name, task in run.task_runs(names).items() if name in names}


# All at once, one for each result, and each for all results.
SHARED = [tuple(HARMS[:3]), tuple(HARMS[3:6]), tuple(HARMS[5:])]
ALONE = [pytest.param((harm,) * 3, marks=pytest.mark.campaign, id=harm.__name__) for harm in HARMS]


@pytest.mark.parametrize("harms", [*SHARED, *ALONE])
def test_a_hostile_result_is_not_executed_and_computed_again(
    sealed: World, harms: tuple[Callable[[Path, str], str], ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = sealed.home / "it ran"
    monkeypatch.syspath_prepend(str(sealed.home))
    before = results(sealed.raw_uri) + results(sealed.processed_uri)
    for path, harm in zip(before, harms, strict=True):
        path.write_text(harm(marker, path.read_text(encoding="utf-8")), encoding="utf-8")
    runs = finish(sealed)
    assert not marker.exists()
    assert {run.state_name for run in runs.values()} == {"Completed"}


def test_a_result_with_missing_files_is_refused(sealed: World) -> None:
    for path in Path(sealed.processed_uri).rglob("*.parquet"):
        path.unlink()
    runs = finish(sealed)
    assert runs["transform fact_sale"].state_name == "Completed"
    assert runs["extract sale"].state_name == "Cached"


def test_a_result_with_altered_files_is_refused(sealed: World) -> None:
    for path in Path(sealed.processed_uri).rglob("*.parquet"):
        whole = path.read_bytes()
        path.write_bytes(bytes([whole[0], whole[1] ^ 1]) + whole[2:])
    assert finish(sealed)["transform fact_sale"].state_name == "Completed"


def test_a_refused_result_is_named_in_the_log(sealed: World, caplog: pytest.LogCaptureFixture) -> None:
    (path,) = results(sealed.processed_uri)
    path.write_text(pickled(sealed.home / "it ran", ""), encoding="utf-8")
    finish(sealed)
    said = [record.getMessage() for record in caplog.records if "_results" in record.getMessage()]
    shown = path.relative_to(sealed.processed_uri)
    assert said == [f"{sealed.processed_uri}: {shown} is not a result of this task; running it again"]
    assert "Traceback" not in caplog.text


def test_nothing_but_results_is_kept_for_prefect(sealed: World) -> None:
    """A failed task's exception, which Prefect would keep as well, may say too much."""
    for uri in (sealed.raw_uri, sealed.processed_uri):
        assert [path.name for path in Path(uri).iterdir() if path.is_file()] == []
