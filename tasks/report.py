"""The run report: what a batch brought, for people."""

from datetime import UTC, datetime

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from pipeline.batches import Manifest
from pipeline.merge import Counts
from pipeline.types import Frozen

_REPORT, _TABLES = "totesys-run", "totesys-tables"


class BatchReport(Frozen):
    """A batch that came into the warehouse: rows by table, and how long each step took."""

    batch_id: str
    snapshot_at: datetime
    rows_read: int
    counts: tuple[Counts, ...]
    seconds: dict[str, float]
    reconciled: bool

    def total(self, what: str) -> int:
        """A count over all tables: of rows added, changed, deleted or rejected."""
        return sum(getattr(count, what) for count in self.counts)

    @property
    def remarks(self) -> list[str]:
        """What a person should not overlook."""
        remarks = []
        if self.reconciled:
            remarks.append(
                f"Reconciled all {self.rows_read:,} rows of the source with the warehouse: it lacked"
                f" {self.total('added'):,}, had {self.total('changed'):,} otherwise,"
                f" and {self.total('deleted'):,} are gone from the source."
            )
        if set_aside := self.total("rejected"):
            remarks.append(f"{set_aside:,} rows were set aside; etl.rejected has them, with the reasons.")
        return remarks

    @property
    def story(self) -> str:
        """One line on what changed in the warehouse."""
        changed = [f"{count.table} {count.story}" for count in self.counts if count.story != "nothing new"]
        return "; ".join(changed) or "nothing new"

    @property
    def summary(self) -> str:
        """What changed in the warehouse, a line a table, for a terminal."""
        width = max(len(count.table) for count in self.counts) if self.counts else 0
        lines = [f"  {count.table:<{width}}  {count.story}" for count in self.counts]
        total = sum(self.seconds.values())
        head = f"batch {self.batch_id}: {self.rows_read:,} rows read from the source, {total:.1f} s in all"
        return "\n".join([head, *lines, *self.remarks])


def batch_report(manifest: Manifest, counts: list[Counts], seconds: dict[str, float]) -> BatchReport:
    """Put together what is known of a loaded batch."""
    return BatchReport(
        batch_id=manifest.batch_id,
        snapshot_at=manifest.snapshot_at,
        rows_read=manifest.rows,
        counts=tuple(counts),
        reconciled=manifest.reconcile,
        seconds={step: round(spent, 3) for step, spent in seconds.items()},
    )


@task(name="report", task_run_name="report batch {done.batch_id}", cache_policy=NO_CACHE)
def report(manifest: Manifest, done: BatchReport) -> None:
    """Publish a loaded batch as a page and a table in the Prefect UI."""
    lag = (datetime.now(UTC) - manifest.snapshot_at).total_seconds()
    total = sum(done.seconds.values())
    timings = ", ".join(f"{step} {spent:.2f} s" for step, spent in done.seconds.items())
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
    page[2:2] = [line for remark in done.remarks for line in ("", f"**{remark}**", "")]
    create_markdown_artifact("\n".join(page), key=_REPORT, description=done.story)
    create_table_artifact(
        [count.model_dump() for count in done.counts],
        key=_TABLES,
        description=f"Rows of batch {manifest.batch_id}",
    )
    get_run_logger().info("Loaded batch %s in %.1f s (%s): %s", done.batch_id, total, timings, done.story)


@task(name="report", task_run_name="report up to date", cache_policy=NO_CACHE)
def report_up_to_date(at: datetime) -> None:
    """Say that nothing changed, in the log and in the Prefect UI."""
    get_run_logger().info("Up to date: the source held nothing new at %s", f"{at:%Y-%m-%d %H:%M:%S} UTC")
    create_markdown_artifact(
        f"# Up to date\nThe source held nothing new at **{at:%Y-%m-%d %H:%M:%S} UTC**.",
        key=_REPORT,
        description="nothing new",
    )
