"""Random sequences of changes, runs, kills and reconciles, compared with an oracle.

More than twenty thousand steps, new ones each time, as in `make campaign`:
``pytest tests/engine/test_model_based.py --hypothesis-profile=campaign``.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import psycopg
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

from demo.postgres import Postgres
from pipeline.lake import manifests
from pipeline.lake.buckets import folder
from pipeline.warehouse import load
from tests.engine.oracle import FACTS, KEYS, MODELS, TICK, Moment, Oracle, Rows, Values
from tests.engine.writers import Shared, Writers
from tests.house import Warehouse, plan_batch
from tests.servers import memory, running_server
from tests.source.both_ways import both_ways
from tests.support import database, end_sessions, write_models

EXAMPLES = 6
COUNTED = ("batches", "kills", "commits", "rollbacks", "deletions", "truncations")


class Killed(Exception):
    """Ends a run midway."""


kills = st.sampled_from(
    [
        "before the seal",
        "before the load",
        *(f"{method} {table}" for method in ("raise", "terminate") for table in ("dim_shop", *FACTS)),
        "before the commit",
    ]
)


class Pipeline(Writers):
    """The pipeline's runs on the source, and checks of the warehouse after each."""

    def __init__(self, place: Shared) -> None:
        super().__init__(place)
        self.house = place.house
        self.oracle = Oracle()
        self.pending: Moment | None = None
        self.read_columns: Counter[str] | None = None
        self.batches = 0
        self.source_xmin = 0

    def take(self, *, reconcile: bool = False, full: bool = False) -> Moment | None:
        """Read a batch, and compare the tables that it reads in full with the expected ones."""
        planned, manifest = plan_batch(self.place.source_url, self.house, reconcile=reconcile, full=full)
        columns = self.read_columns
        altered = {name for name in KEYS if columns is None or columns[name] != self.added_columns[name]}
        whole = frozenset(KEYS if reconcile or full else altered)
        assert {name for name, table in planned.tables.items() if table.mode == "full"} == whole
        if manifest is None:
            assert not whole
            assert not self.rows_differ, "a change was not seen"
            return None
        moment = Moment(manifest, {name: self.rows_of(name) for name in KEYS})
        self.read_columns = Counter(self.added_columns)
        return moment

    @property
    def rows_differ(self) -> bool:
        """Whether the rows differ from the last batch."""
        return any(self.oracle.state[name] != self.rows_of(name) for name in KEYS)

    def bring(self, moment: Moment, progress: Callable[[str, int], None] = lambda *_: None) -> None:
        """Load a batch, and compare its counts with the oracle's."""
        self.pending = moment
        counts = self.house.bring(moment.manifest, progress=progress, max_rejected_share=1)
        self.pending = None
        self.batches += 1
        self.place.tally["batches"] += 1
        expected = self.oracle.load(moment)
        for name, expected_counts in expected.items():
            assert (
                (counts[name].added, counts[name].changed, counts[name].deleted) == expected_counts
                if name in counts
                else (not any(expected_counts))
            ), name

    def finish_sealed(self) -> None:
        """Load a batch that an earlier run sealed and expected_counts not load."""
        sealed = manifests.sealed_after(self.house.raw, self.last_batch)
        assert (sealed is None) == (self.pending is None)
        if self.pending:
            assert sealed == self.pending.manifest
            self.bring(self.pending)

    @property
    def last_batch(self) -> str | None:
        rows = self.house.query("SELECT batch_id FROM etl.watermark")
        return rows[0][0] if rows else None

    @rule(mode=st.sampled_from(["", "", "", "", "reconcile", "full"]))
    def run(self, mode: str) -> None:
        """A run without disturbance."""
        self.place.tally["runs"] += 1
        self.finish_sealed()
        moment = self.take(reconcile=mode == "reconcile", full=mode == "full")
        if moment:
            self.bring(moment)
        self.compare(up_to_date=moment is None)

    @rule(kill=kills, reconcile=st.booleans())
    def killed_run(self, kill: str, reconcile: bool) -> None:
        """A run that is killed; the next one finishes or supersedes its batch."""
        self.finish_sealed()
        try:
            self.run_to(kill, reconcile=reconcile)
        except (Killed, psycopg.OperationalError):
            self.place.tally["kills"] += 1
        self.compare()

    def run_to(self, kill: str, *, reconcile: bool) -> None:
        if kill == "before the seal":
            with mock.patch.object(manifests, "seal", side_effect=Killed):
                plan_batch(self.place.source_url, self.house, reconcile=reconcile)
            return
        moment = self.take(reconcile=reconcile)
        if moment is None:
            return
        if kill == "before the load":
            self.pending = moment
            raise Killed
        if kill == "before the commit":
            real = load._record

            def commit(*arguments: Any) -> None:
                real(*arguments)
                raise Killed

            with mock.patch.object(load, "_record", commit):
                self.bring(moment)
            return
        method, _, victim = kill.partition(" ")

        def progress(table: str, _: int) -> None:
            if table != victim:
                return
            if method == "raise":
                raise Killed
            end_sessions(self.house.url)

        self.bring(moment, progress)

    def compare(self, *, up_to_date: bool = False) -> None:
        """Compare the warehouse with the oracle, now and at every earlier moment."""
        oracle, query = self.oracle, self.house.query
        for name, columns in FACTS.items():
            history = query(f"SELECT valid_from, valid_to, deleted, order_id, {columns} FROM {name}_history")
            assert len(history) == len(oracle.history(name)), "no version is doubled or lost"
            assert set(history) == oracle.history(name)
            current = query(f"SELECT order_id, {columns} FROM {name}_current")
            assert sorted(current, key=repr) == self.flat(oracle.current(name))
            self.compare_moments(name, columns)
        assert sorted(query("SELECT shop_id, label, town FROM dim_shop"), key=repr) == self.flat(
            {shop: key_versions[-1][3] for shop, key_versions in oracle.shops.items()}
        )
        shops = query("SELECT valid_from, valid_to, deleted, shop_id, label, town FROM dim_shop_history")
        assert sorted(shops, key=repr) == sorted(oracle.shop_history, key=repr)
        rejected = query(
            "SELECT table_name, COALESCE(key ->> 'order_id', key ->> 'shop_id')"
            " FROM etl.rejected WHERE NOT resolved"
        )
        assert sorted(rejected) == sorted(oracle.rejected)
        self.compare_watermark(up_to_date=up_to_date)

    def compare_moments(self, name: str, columns: str) -> None:
        """Compare each snapshot and the last moment before it."""
        expected: list[Values] = []
        before: Rows = {}
        for at, rows in self.oracle.moments:
            expected += [(at - TICK, *row) for row in self.flat(before)]
            expected += [(at, *row) for row in self.flat(rows[name])]
            before = rows[name]
        # There is nothing before the first batch.
        times = [time for at, _ in self.oracle.moments for time in (at - TICK, at)][1:]
        with psycopg.connect(self.house.url) as connection:
            found = connection.execute(
                f"SELECT t, order_id, {columns}"
                f" FROM unnest(%s::timestamptz[]) AS t, LATERAL {name}_as_of(t)".encode(),
                [times],
            ).fetchall()
        assert sorted(found, key=repr) == sorted(expected, key=repr)

    def compare_watermark(self, *, up_to_date: bool) -> None:
        ((chain, count),) = self.house.query(
            "SELECT count(*) FILTER (WHERE previous_batch_id IS NOT NULL), count(*) FROM etl.batch"
        )
        assert count == self.batches
        assert chain == max(self.batches - 1, 0), "each batch follows the one before"
        rows = self.house.query("SELECT batch_id, snapshot_at, source_xmin, up_to_date_at FROM etl.watermark")
        assert len(rows) == min(self.batches, 1)
        for _, at, source_xmin, up_to_date_at in rows:
            assert at == self.oracle.moments[-1][0]
            assert source_xmin >= self.source_xmin
            assert up_to_date_at > at if up_to_date else up_to_date_at >= at
            self.source_xmin = source_xmin

    @staticmethod
    def flat(rows: Rows) -> list[Values]:
        return sorted(((key, *values) for key, values in rows.items()), key=repr)

    def check_invariants(self, *arguments: Any) -> None:
        """Count the steps; runs check for themselves."""
        self.place.tally["steps"] += 1
        super().check_invariants(*arguments)


@pytest.fixture
def source_server(request: pytest.FixtureRequest, postgres: Postgres) -> Iterator[Postgres]:
    """The session's server, or one whose WAL summaries show which tables need no scan."""
    if request.param == "scanned":
        yield postgres
        return
    with running_server("summarized", summarize_wal="on") as server, both_ways() as left_out:
        yield server
        assert sum(map(len, left_out)) > 100


@pytest.fixture
def place(source_server: Postgres, postgres: Postgres) -> Iterator[Shared]:
    with (
        database(source_server, "source") as source_url,
        database(postgres, "warehouse") as warehouse_url,
        tempfile.TemporaryDirectory(dir=memory()) as home,
    ):
        write_models(Path(home) / "models", MODELS)
        house = Warehouse(warehouse_url, Path(home) / "models", folder(home), folder(home))
        house.prepare()
        yield Shared(source_url, house, Path(home))


@pytest.mark.timeout(6 * 3600)
@pytest.mark.parametrize(
    "source_server", ["scanned", pytest.param("summarized", marks=pytest.mark.campaign)], indirect=True
)
def test_after_any_sequence_of_events_the_warehouse_equals_the_oracle(
    place: Shared, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = max(settings().max_examples, EXAMPLES)
    machine: Any = partial(Pipeline, place)
    run_state_machine_as_test(machine, settings=settings(max_examples=examples))
    if examples > EXAMPLES:
        with capsys.disabled():
            print("\n" + ", ".join(f"{number:,} {what}" for what, number in place.tally.items()))  # noqa: T201
    assert place.tally["steps"] > 200
    assert min(place.tally[what] for what in COUNTED) > 0
