"""The run report: what a batch brought, for people."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from pydantic import Field

from pipeline import settings, status
from pipeline.columns import Frozen
from pipeline.lake.manifest import Manifest
from pipeline.models.library import Model
from pipeline.postgres import transaction
from pipeline.redaction import safe
from pipeline.status import Batch
from pipeline.warehouse.counts import NOTHING_NEW, Counts
from pipeline.words import counted
from tasks import assets, blocks, events, metrics
from tasks.chart import BATCHES, chart
from tasks.failures import ON_TRANSIENT_FAULTS, clean_failures

_REPORT, _TABLES = "totesys-run", "totesys-tables"


class BatchReport(Frozen):
    """A batch that came into the warehouse: rows by table, and how long each step took."""

    batch_id: str
    snapshot_at: datetime
    rows_read: int
    counts: tuple[Counts, ...]
    seconds: dict[str, float]
    reconciled: bool
    left_out: dict[str, tuple[str, ...]] = Field(default_factory=dict)

    def total(self, what: str) -> int:
        """A count over all tables: of rows added, changed, deleted or rejected."""
        return sum(getattr(count, what) for count in self.counts)

    @property
    def remarks(self) -> list[str]:
        """What a person should not overlook."""
        remarks = []
        if self.reconciled:
            remarks.append(
                f"Reconciled the source, {counted(self.rows_read, 'row')}, with the warehouse: it lacked"
                f" {self.total('added'):,}, had {self.total('changed'):,} otherwise,"
                f" and {self.total('deleted'):,} of its own gone from the source."
            )
        if lost := self.total("missed"):
            remarks.append(
                f"Other runs had missed {counted(lost, 'row')} of these, which must not be: report it."
            )
        if set_aside := self.total("rejected"):
            remarks.append(
                f"Set aside: {counted(set_aside, 'row')}; etl.rejected has them, with the reasons."
            )
        return [*remarks, *left_out(self.left_out)]

    @property
    def story(self) -> str:
        """One line on what changed in the warehouse."""
        changed = [
            f"{count.table} {count.summary}" for count in self.counts if count.summary != "nothing new"
        ]
        return "; ".join(changed) or NOTHING_NEW

    @property
    def timings(self) -> tuple[float, str]:
        """How long it took in all, and what each step took of that."""
        steps = ", ".join(f"{step} {spent:.2f} s" for step, spent in self.seconds.items())
        return sum(self.seconds.values()), steps

    @property
    def summary(self) -> str:
        """What changed in the warehouse, a line a table, for a terminal."""
        width = max(len(count.table) for count in self.counts) if self.counts else 0
        lines = [f"  {count.table:<{width}}  {count.summary}" for count in self.counts]
        total, _ = self.timings
        read = counted(self.rows_read, "row")
        head = f"batch {self.batch_id}: {read} read from the source, {total:.1f} s in all"
        return "\n".join([head, *lines, *self.remarks])


def left_out(columns: Mapping[str, Iterable[str]]) -> list[str]:
    """A line on each model that leaves columns out, which its ``*`` brings and its table does not have."""
    return [
        f"Left out until the table has them: {', '.join(names)} of {model}."
        for model, names in sorted(columns.items())
    ]


def batch_report(
    manifest: Manifest,
    counts: list[Counts],
    seconds: dict[str, float],
    left_out: Mapping[str, tuple[str, ...]],
) -> BatchReport:
    """Put together what is known of a loaded batch."""
    return BatchReport(
        batch_id=manifest.batch_id,
        snapshot_at=manifest.snapshot_at,
        rows_read=manifest.rows,
        counts=tuple(counts),
        reconciled=manifest.reconcile,
        left_out=dict(left_out),
        seconds={step: round(spent, 3) for step, spent in seconds.items()},
    )


def announce(manifest: Manifest, done: BatchReport, models: dict[str, Model], environment: str) -> None:
    """Say in the log, in the metrics and by events that a batch is in the warehouse, and what it rejected."""
    total, timings = done.timings
    get_run_logger().info("Loaded batch %s in %.1f s (%s): %s", done.batch_id, total, timings, done.story)
    rows = {outcome: done.total(outcome) for outcome in metrics.OUTCOMES}
    events.updated(environment, manifest.snapshot_at, batch_id=done.batch_id, **rows)
    metrics.up_to_date(environment, manifest.snapshot_at)
    metrics.batch_loaded(environment, done.counts, done.seconds)
    schema = settings.load().warehouse_schema
    assets.loaded(done.counts, models, environment, schema)
    if missed := {count.table: count.missed for count in done.counts if count.missed}:
        lost = ", ".join(f"{table} {number:,}" for table, number in missed.items())
        get_run_logger().error("Reconciling found rows that other runs had missed: %s", lost)
        events.missed(environment, done.batch_id, missed)
    if rows["rejected"]:
        with transaction(blocks.database_url(blocks.WAREHOUSE, environment), "warehouse") as connection:
            first = status.by_table(status.set_aside(connection, schema, done.batch_id))
        if first:
            events.rejected(environment, done.batch_id, first)


@task(
    name="report",
    task_run_name="report batch {done.batch_id}",
    cache_policy=NO_CACHE,
    **ON_TRANSIENT_FAULTS,
)
@clean_failures
def report(manifest: Manifest, done: BatchReport, environment: str) -> None:
    """Publish a page and a table about a loaded batch in the Prefect UI."""
    with transaction(blocks.database_url(blocks.WAREHOUSE, environment), "warehouse") as connection:
        last = status.recent(connection, settings.load().warehouse_schema, BATCHES)
    page = safe(_page(manifest, done, last), keep="\n")
    create_markdown_artifact(page, key=_REPORT, description=safe(done.story))
    create_table_artifact(
        [count.model_dump() for count in done.counts],
        key=_TABLES,
        description=f"Rows of batch {manifest.batch_id}",
    )


def _page(manifest: Manifest, done: BatchReport, last: list[Batch]) -> str:
    lag = (datetime.now(UTC) - manifest.snapshot_at).total_seconds()
    total, timings = done.timings
    read = [
        f"| {table.table} | {table.mode} | {table.rows:,} | {table.reason} |"
        for table in sorted(manifest.tables.values(), key=lambda table: table.table)
    ]
    loaded = [
        f"| {count.table} | {count.added:,} | {count.changed:,} | {count.deleted:,} | {count.rejected:,} |"
        for count in done.counts
    ]
    page = [
        f"# As of {manifest.snapshot_at:%Y-%m-%d %H:%M:%S} UTC",
        f"Batch `{done.batch_id}` was in the warehouse {lag:.0f} s later: {timings}, {total:.1f} s in all.",
        *(line for remark in done.remarks for line in ("", f"**{remark}**")),
        "",
        chart(last[::-1]),
        "",
        "## Into the warehouse",
        "| table | added | changed | deleted | set aside |",
        "|---|--:|--:|--:|--:|",
        *loaded,
        "",
        "## Out of the source",
        "| table | read | rows | why |",
        "|---|---|--:|---|",
        *read,
    ]
    return "\n".join(page)


@task(name="report", task_run_name="report up to date", cache_policy=NO_CACHE)
@clean_failures
def report_up_to_date(at: datetime, environment: str) -> None:
    """Say that nothing changed, in the log, in the Prefect UI and to whoever listens."""
    get_run_logger().info("Up to date: the source held nothing new at %s", f"{at:%Y-%m-%d %H:%M:%S} UTC")
    events.updated(environment, at)
    metrics.up_to_date(environment, at)
    create_markdown_artifact(
        f"# Up to date\nThe source held nothing new at **{at:%Y-%m-%d %H:%M:%S} UTC**.",
        key=_REPORT,
        description="nothing new",
    )
