"""The run report: what a batch changed, as log line, events, metrics and Prefect artifacts."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from pydantic import Field

from pipeline import settings, status
from pipeline.columns import Frozen
from pipeline.lake.manifest import Manifest
from pipeline.models import checks
from pipeline.models.library import Model
from pipeline.postgres import transaction
from pipeline.redaction import safe
from pipeline.status import Batch
from pipeline.warehouse import ledger
from pipeline.warehouse.checks import Warned
from pipeline.warehouse.counts import NOTHING_NEW, Counts
from pipeline.words import counted
from tasks import assets, blocks, events, metrics
from tasks.chart import BATCHES, chart
from tasks.failures import RETRY_IF_TRANSIENT, best_effort, clean_failures

_REPORT, _TABLES = "totesys-run", "totesys-tables"
_UP_TO_DATE = "up to date: nothing changed in the source"


class BatchReport(Frozen):
    """A loaded batch: rows by table, and the seconds of each step."""

    batch_id: str
    snapshot_at: datetime
    rows_read: int
    counts: tuple[Counts, ...]
    seconds: dict[str, float]
    reconciled: bool
    left_out: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    source_columns: tuple[str, ...] = ()
    warned: tuple[Warned, ...] = ()

    def total(self, outcome: str) -> int:
        """Rows of all tables with an outcome: added, changed, deleted, rejected or missed."""
        return sum(getattr(count, outcome) for count in self.counts)

    @property
    def remarks(self) -> list[str]:
        """Sentences that the reader should not overlook."""
        remarks = []
        if self.reconciled:
            remarks.append(
                f"Reconciled with the source ({counted(self.rows_read, 'row')}). In the warehouse"
                f" {self.total('added'):,} were missing, {self.total('changed'):,} differed, and"
                f" {self.total('deleted'):,} no longer exist in the source."
            )
        if missed := self.total("missed"):
            remarks.append(
                f"Earlier runs had missed {counted(missed, 'row')} of these, which should never happen:"
                " please report it."
            )
        if rejected := self.total("rejected"):
            remarks.append(f"Rejected: {counted(rejected, 'row')}; etl.rejected has the reason of each.")
        remarks += [f"Warning: {each.sentence}." for each in self.warned]
        return [*remarks, *left_out(self.left_out), *(f"{line}." for line in self.source_columns)]

    @property
    def changes(self) -> str:
        """One line on what changed in the warehouse."""
        changed = [
            f"{count.table} {count.summary}" for count in self.counts if count.summary != "nothing new"
        ]
        return "; ".join(changed) or NOTHING_NEW

    @property
    def timings(self) -> tuple[float, str]:
        """The seconds of all steps together, and a text with the seconds of each."""
        steps = ", ".join(f"{step} {spent:.2f} s" for step, spent in self.seconds.items())
        return sum(self.seconds.values()), steps

    @property
    def summary(self) -> str:
        """What changed in the warehouse, one line per table, for a terminal."""
        width = max(len(count.table) for count in self.counts) if self.counts else 0
        lines = [f"  {count.table:<{width}}  {count.summary}" for count in self.counts]
        total, _ = self.timings
        read = counted(self.rows_read, "row")
        head = f"batch {self.batch_id}: {read} read from the source, {total:.1f} s in all"
        return "\n".join([head, *lines, *self.remarks])


class RunReport(Frozen):
    """What a run did: the batches that it loaded and, by table, what else: ``restated`` for example."""

    batches: tuple[BatchReport, ...]
    done: dict[str, str] = Field(default_factory=dict)

    @property
    def summary(self) -> str:
        """The batches and a last line with the rest, for a terminal."""
        names: dict[str, list[str]] = {}
        for name, done in self.done.items():
            names.setdefault(done, []).append(name)
        rest = [f"{done} {', '.join(each)}" for done, each in names.items()]
        if not self.batches:
            rest = ["nothing changed in the source", *rest] if rest else [_UP_TO_DATE]
        return "\n".join([*(each.summary for each in self.batches), *(["; ".join(rest)] if rest else [])])


def left_out(columns: Mapping[str, Iterable[str]]) -> list[str]:
    """One line per model whose ``*`` selects columns that its table does not have."""
    return [
        f"Left out until the table has them: {', '.join(names)} of {model}."
        for model, names in sorted(columns.items())
    ]


def batch_report(
    manifest: Manifest,
    counts: list[Counts],
    seconds: dict[str, float],
    left_out: Mapping[str, tuple[str, ...]],
    source_columns: tuple[str, ...] = (),
    *,
    environment: str,
) -> BatchReport:
    """The report of a loaded batch, with the checks that warned."""
    config = settings.load()
    warned: list[Warned] = []
    if checks.load(config.transforms):
        with (
            best_effort(f"Which checks warn in batch {manifest.batch_id} is not known"),
            transaction(blocks.database_url(blocks.WAREHOUSE, environment), "warehouse") as connection,
        ):
            warned = status.warned(connection, config.warehouse_schema, manifest.batch_id)
    return BatchReport(
        batch_id=manifest.batch_id,
        snapshot_at=manifest.snapshot_at,
        rows_read=manifest.rows,
        counts=tuple(counts),
        reconciled=manifest.reconcile,
        left_out=dict(left_out),
        source_columns=source_columns,
        warned=tuple(warned),
        seconds={step: round(spent, 3) for step, spent in seconds.items()},
    )


def announce(manifest: Manifest, batch: BatchReport, models: dict[str, Model], environment: str) -> None:
    """Write a loaded batch to the log, the metrics and the events, with its rejected and missed rows."""
    total, timings = batch.timings
    get_run_logger().info("Loaded batch %s in %.1f s (%s): %s", batch.batch_id, total, timings, batch.changes)
    rows = {outcome: batch.total(outcome) for outcome in metrics.OUTCOMES}
    events.updated(environment, manifest.up_to_date_at, batch_id=batch.batch_id, **rows)
    metrics.up_to_date(environment, manifest.up_to_date_at)
    metrics.batch_loaded(environment, batch.counts, batch.seconds)
    schema = settings.load().warehouse_schema
    assets.loaded(batch.counts, models, environment, schema)
    for each in batch.warned:
        get_run_logger().warning("%s", each.sentence)
    if batch.warned:
        events.warned(environment, batch.batch_id, {each.name: each.rows for each in batch.warned})
    if missed := {count.table: count.missed for count in batch.counts if count.missed}:
        rows_by_table = ", ".join(f"{table} {number:,}" for table, number in missed.items())
        get_run_logger().error("Reconciling found rows that earlier runs had missed: %s", rows_by_table)
        events.missed(environment, batch.batch_id, missed)
    if rows["rejected"]:
        with transaction(blocks.database_url(blocks.WAREHOUSE, environment), "warehouse") as connection:
            first_rejected = status.by_table(status.rejected(connection, schema, batch.batch_id))
        if first_rejected:
            events.rejected(environment, batch.batch_id, first_rejected)


@task(
    name="report", task_run_name="report batch {batch.batch_id}", cache_policy=NO_CACHE, **RETRY_IF_TRANSIENT
)
@clean_failures
def report(manifest: Manifest, batch: BatchReport, environment: str) -> None:
    """Publish a Markdown and a table artifact about a loaded batch, and record the seconds of its steps."""
    with transaction(blocks.database_url(blocks.WAREHOUSE, environment), "warehouse") as connection:
        schema = settings.load().warehouse_schema
        ledger.record_seconds(connection, schema, batch.batch_id, batch.seconds)
        last = status.recent(connection, schema, BATCHES)
    page = safe(_page(manifest, batch, last), keep="\n")
    create_markdown_artifact(page, key=_REPORT, description=safe(batch.changes))
    create_table_artifact(
        [count.model_dump() for count in batch.counts],
        key=_TABLES,
        description=f"Rows of batch {manifest.batch_id}",
    )


def _page(manifest: Manifest, batch: BatchReport, last: list[Batch]) -> str:
    lag = (datetime.now(UTC) - manifest.up_to_date_at).total_seconds()
    total, timings = batch.timings
    read = [
        f"| {table.table} | {table.mode} | {table.rows:,} | {table.reason} |"
        for table in sorted(manifest.tables.values(), key=lambda table: table.table)
    ]
    loaded = [
        f"| {count.table} | {count.added:,} | {count.changed:,} | {count.deleted:,} | {count.rejected:,} |"
        for count in batch.counts
    ]
    page = [
        f"# As of {manifest.snapshot_at:%Y-%m-%d %H:%M:%S} UTC",
        f"Batch `{batch.batch_id}` was in the warehouse {lag:.0f} s later: {timings}, {total:.1f} s in all.",
        *(line for remark in batch.remarks for line in ("", f"**{remark}**")),
        "",
        chart(last[::-1]),
        "",
        "## Loaded into the warehouse",
        "| table | added | changed | deleted | rejected |",
        "|---|--:|--:|--:|--:|",
        *loaded,
        "",
        "## Read from the source",
        "| table | read | rows | why |",
        "|---|---|--:|---|",
        *read,
    ]
    return "\n".join(page)


@task(name="report", task_run_name="report up to date", cache_policy=NO_CACHE)
@clean_failures
def report_up_to_date(at: datetime, environment: str) -> None:
    """Write to the log, the metrics, the events and the Prefect UI that nothing has changed."""
    get_run_logger().info("Up to date: the source held nothing new at %s", f"{at:%Y-%m-%d %H:%M:%S} UTC")
    events.updated(environment, at)
    metrics.up_to_date(environment, at)
    create_markdown_artifact(
        f"# Up to date\nNothing had changed in the source at **{at:%Y-%m-%d %H:%M:%S} UTC**.",
        key=_REPORT,
        description="no changes",
    )
