"""What a batch stores so that a later run can prove that the source continues from it."""

from collections.abc import Iterable, Mapping

from pipeline.capture.tables import TablePlan
from pipeline.lake.manifest import Manifest, TableBatch
from pipeline.postgres import Connection
from pipeline.source import witnesses
from pipeline.source.snapshots import Snapshot
from pipeline.source.witnesses import Candidate, Continuity


def continuity(
    connection: Connection,
    schema: str,
    snapshot: Snapshot,
    previous: Manifest | None,
    plans: Mapping[str, TablePlan],
) -> Continuity:
    """The proof of a planned batch, from the probes of its tables.

    The last batch's witnesses are kept where this one reads no newer rows.
    """
    candidates = [
        Candidate(name, plan.table.columns, plan.probe.newest) for name, plan in plans.items() if plan.probe
    ]
    found = witnesses.take(connection, schema, candidates, has_commit_times=snapshot.keeps_commit_times)
    proof = Continuity(
        wal=snapshot.wal,
        started_at=snapshot.started_at,
        statistics_since=snapshot.statistics_since,
        since=snapshot.xmin,
        next=snapshot.xmax,
        witnesses=found,
        has_commit_times=snapshot.keeps_commit_times,
    )
    if previous is None or previous.continuity is None:
        return proof
    last = previous.continuity
    if not found and not any(plan.mode == "full" and plan.table.tracked for plan in plans.values()):
        kept = ("since", "witnesses", "has_commit_times")
        proof = proof.model_copy(update={name: getattr(last, name) for name in kept})
    commits = witnesses.count_commits(connection, proof.witnesses, snapshot.xmax, last, previous.source_xmin)
    return proof.model_copy(update={"commits": commits})


def with_unproven(proof: Continuity, last: Continuity | None, tables: Iterable[TableBatch]) -> Continuity:
    """The proof with the tables that it does not cover, as rows may be gone from them since its witnesses."""
    unproven = {table.table for table in tables if table.mode == "full" or table.deleted}
    if last and last.commits and proof.commits and proof.commits.highest == last.commits.highest:
        unproven.update(last.unproven)
    return proof.model_copy(update={"unproven": tuple(sorted(unproven))})
