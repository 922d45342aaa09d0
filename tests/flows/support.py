"""A test pipeline: two databases, two buckets, models, and the blocks for them."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

import psycopg
import pytest
from prefect import Flow, tags
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import State, TaskRun
from prometheus_client.parser import text_string_to_metric_families
from psycopg import sql

from flows.etl import etl
from pipeline import settings
from pipeline.errors import PipelineError
from tasks import save_blocks, watchdogs
from tasks.report import BatchReport, RunReport

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SECONDS_TO_WAIT = 150

_saved: dict[str, str] = {}


@dataclass(frozen=True)
class Run:
    """A finished flow run."""

    state: State[RunReport]

    @property
    def id(self) -> UUID:
        found = self.state.state_details.flow_run_id
        assert found is not None
        return found

    @property
    def reports(self) -> list[BatchReport]:
        """The reports of its batches; raises the run's error."""
        return list(self.state.result().batches)

    @property
    def error(self) -> object:
        """The run's error."""
        return self.state.result(raise_on_failure=False)

    def task_runs(self, names: set[str]) -> dict[str, TaskRun]:
        """Wait until the named task runs have ended; returns all task runs by name.

        The server hears of task runs by events, some time after they happened.
        """
        deadline = time.monotonic() + SECONDS_TO_WAIT
        with client() as prefect:
            while True:
                found = prefect.read_task_runs(flow_run_filter=FlowRunFilter(id={"any_": [self.id]}))
                by_name = {run.name: run for run in found if run.state and run.state.is_final()}
                if names <= by_name.keys() or time.monotonic() > deadline:
                    return by_name
                time.sleep(0.1)


@dataclass(frozen=True)
class World:
    """The databases, buckets, models and settings of a pipeline; ``home`` is its folder."""

    home: Path
    source_url: str
    warehouse_url: str
    raw_uri: str
    processed_uri: str
    transforms: Path
    more: Mapping[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, str]:
        """The environment of a run."""
        return {
            "TOTESYS_SOURCE_URL": self.source_url,
            "TOTESYS_WAREHOUSE_URL": self.warehouse_url,
            "TOTESYS_RAW_URI": self.raw_uri,
            "TOTESYS_PROCESSED_URI": self.processed_uri,
            "TOTESYS_TRANSFORMS": str(self.transforms),
            **self.more,
        }

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Set exactly these settings for the block, in a working directory of its own."""
        with pytest.MonkeyPatch.context() as patch:
            for name in set(os.environ) | set(self.settings):
                if name.startswith(("TOTESYS_", "AWS_")):
                    patch.delenv(name, raising=False)
            for name, value in self.settings.items():
                patch.setenv(name, value)
            patch.chdir(self.home)
            yield

    def save_blocks(self) -> None:
        """Save the blocks as ``make blocks`` does, unless the same were saved last."""
        if _saved != self.settings:
            with self.entered():
                save_blocks.save(settings.load())
            _saved.clear()
            _saved.update(self.settings)

    def run(self, **parameters: Any) -> Run:
        """Run the flow with the blocks of these settings; also returns a failed run."""
        self.save_blocks()
        return self.flow(**parameters)

    def flow(self, **parameters: Any) -> Run:
        """Run the flow as ``make run`` does, with the saved blocks; also returns a failed run."""
        environment = parameters.get("environment") or self.settings.get("TOTESYS_ENVIRONMENT", "")
        with self.entered(), tags(watchdogs.tag(environment)):
            return Run(ended(etl, **parameters))


def ended(flow: Flow[..., Any], **parameters: Any) -> State[Any]:
    """Run a flow; returns its last state, which has the result or the error.

    With ``return_state`` alone the result is missing if the answer of Prefect's server was lost: the client
    repeats its request, and the server then answers with its own copy of the state.
    """
    outcomes: list[Any] = []
    noting: Any = flow.with_options()
    body = noting.fn

    @wraps(body)
    def note(*args: Any, **kwargs: Any) -> Any:
        try:
            outcomes.append(body(*args, **kwargs))
        except Exception as error:
            outcomes.append(error)
            raise
        return outcomes[0]

    noting.fn = note
    state: State[Any] = noting(**parameters, return_state=True)
    if state.data is None and outcomes:
        (outcome,) = outcomes
        state.data = outcome.data if isinstance(outcome, State) else outcome
    return state


def changed(run: Run) -> dict[str, tuple[int, int, int]]:
    """Rows that a run added, changed and deleted, by table, without tables that did not change."""
    counts = [count for report in run.reports for count in report.counts]
    rows = {count.table: (count.added, count.changed, count.deleted) for count in counts}
    return {table: numbers for table, numbers in rows.items() if any(numbers)}


def with_password(url: str, password: str) -> str:
    """The URL with another password."""
    return re.sub(r":[^:@/]*@", f":{quote(password, safe='')}@", url, count=1)


def blocks_were_changed() -> None:
    """Forget which blocks were saved last, because a test has changed them."""
    _saved.clear()


def client() -> SyncPrefectClient:
    """A connection to the Prefect server of this session."""
    return get_client(sync_client=True)


def query(url: str, statement: str | sql.SQL | sql.Composed, *values: object) -> list[tuple[Any, ...]]:
    """Rows of a statement; a statement without rows gives none."""
    text = statement.encode() if isinstance(statement, str) else statement
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(text, values or None)
        return cursor.fetchall() if cursor.description else []


def execute_file(url: str, path: Path) -> None:
    """Run all statements of a file."""
    query(url, path.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Difference:
    """The rows that a warehouse table lacks, and those that it should not have."""

    missing: list[str]
    beyond: list[str]


EQUAL = Difference([], [])


def difference(world: World, schema: str, oracle: Path, relation: str) -> Difference:
    """Compare a warehouse relation with plain SQL on the source, value by value."""
    inner = sql.SQL("({}\n) AS o").format(sql.SQL(oracle.read_text(encoding="utf-8")))
    with psycopg.connect(world.source_url) as connection:
        head = connection.execute(sql.SQL("SELECT * FROM {} LIMIT 0").format(inner))
        names = [column.name for column in head.description or []]
    columns = sql.SQL(", ").join(map(sql.Identifier, names))
    rows = sql.SQL("SELECT o::text FROM (SELECT {} FROM {}) AS o")
    expected = query(world.source_url, rows.format(columns, inner))
    found = query(world.warehouse_url, rows.format(columns, sql.Identifier(schema, relation)))
    return Difference(_without(expected, found), _without(found, expected))


def _without(rows: list[tuple[str]], others: list[tuple[str]]) -> list[str]:
    """The rows that the others lack, as multisets."""
    left = sorted(row for (row,) in others)
    lacking = []
    for (row,) in rows:
        if row in left:
            left.remove(row)
        else:
            lacking.append(row)
    return sorted(lacking)


def warehouse_state(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of the warehouse by table, to detect changes."""
    names = query(
        url,
        "SELECT schemaname, tablename FROM pg_tables"
        " WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1, 2",
    )
    rows = sql.SQL("SELECT t::text FROM {} AS t ORDER BY 1")
    return {".".join(name): query(url, rows.format(sql.Identifier(*name))) for name in names}


def words_of(error: object) -> str:
    """The one-line message of a PipelineError."""
    assert isinstance(error, PipelineError), repr(error)
    return str(error)


def figures(text: str) -> dict[str, dict[str, float]]:
    """Metrics of the unnamed environment: values by metric and by its other labels."""
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = dict(sorted(sample.labels.items()))
            if not labels.pop("environment", ""):
                found.setdefault(sample.name, {})[" ".join(labels.values())] = sample.value
    return found
