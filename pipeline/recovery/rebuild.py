"""A rebuild: the batches of one warehouse that the raw bucket holds, loaded again in order."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from pipeline.errors import CANNOT_LOAD, LakeIncomplete, ObjectMissing, PipelineError
from pipeline.lake import chains, manifests
from pipeline.lake.adapt import is_complete, rebased
from pipeline.lake.buckets import Bucket
from pipeline.lake.chains import Chain
from pipeline.lake.manifest import TIME, Destination, Manifest
from pipeline.lake.manifests import read_manifest
from pipeline.source.snapshots import Identity
from pipeline.words import counted

_logger = logging.getLogger(__name__)
_Report = TypeVar("_Report")


@dataclass(frozen=True)
class Selection:
    """Which batches to rebuild from.

    ``destination`` is the warehouse, ``last`` the batch that it is at, ``tables`` what its models read.
    ``source`` is the source that answers, if any, ``source_schema`` what the models read of it.
    ``warehouse_id`` selects the batches of another warehouse.
    """

    destination: Destination
    last: str | None
    tables: frozenset[str]
    source: Identity | None = None
    warehouse_id: str = ""
    source_schema: str | None = None

    def choose(self, candidates: Sequence[Chain]) -> Chain | None:
        """The chain to rebuild from; None if there are no chains.

        That is the chain of ``warehouse_id`` if given; else the warehouse's own, by its id or its database;
        else the newest one with all tables that was not read from another source. A warehouse that has
        batches continues the chain that holds its last one. Raises LakeIncomplete if only other warehouses'
        chains are left, which have to be selected.
        """
        if self.warehouse_id:
            selected = [chain for chain in candidates if chain.owner == self.warehouse_id]
            return self._newest(selected, candidates)
        if self.last is not None:
            own = [chain for chain in candidates if chain.belongs_to(self.destination)]
            with_last = [chain for chain in candidates if chain.holds(str(self.last))]
            return max(with_last or own, key=self._rank, default=None)
        usable = [
            chain for chain in candidates if chain.belongs_to(self.destination) or self._may_be_own(chain)
        ]
        return self._newest(usable, candidates) if candidates else None

    def may_continue(self, chain: Chain) -> bool:
        """Whether the batches after the warehouse's last one, if it has any, are not another warehouse's."""
        is_named = chain.owner == self.warehouse_id
        return self.last is None or is_named or chain.end.may_be_for(self.destination, self.source_schema)

    def _newest(self, usable: Sequence[Chain], candidates: Sequence[Chain]) -> Chain:
        if not usable:
            owner = f"this warehouse or its source, {self.source}"
            if self.warehouse_id:
                owner = f"warehouse {self.warehouse_id}"
            raise LakeIncomplete(
                f"raw bucket: it has no batch of {owner}; it has batches of {chains.summaries(candidates)};"
                ' to use those of another warehouse, select it: make rebuild ARGS="--warehouse ID"'
            )
        return max(usable, key=self._rank)

    def _rank(self, chain: Chain) -> tuple[bool, bool, str]:
        return chain.belongs_to(self.destination), self.tables <= chain.end.tables.keys(), chain.end.batch_id

    def _may_be_own(self, chain: Chain) -> bool:
        """Whether nothing shows that the chain belongs to another warehouse or source."""
        if None not in {self.source_schema, chain.end.source_schema} and (
            self.source_schema != chain.end.source_schema
        ):
            return False
        return (
            chain.end.warehouse is None
            or self.source is None
            or chain.end.identity.is_same_database(self.source)
        )


@dataclass
class Steps:
    """The batches of a chain in the order in which a rebuild loads them.

    If a batch is lost or cannot be loaded, the next one that holds all rows of the ``tables`` follows
    instead. ``lost`` is then the error about the manifest that could not be read.
    """

    raw: Bucket
    chain: Chain | None
    tables: frozenset[str]
    until: datetime | None = None
    lost: ObjectMissing | None = field(init=False, default=None)
    _tried: set[tuple[str, bool]] = field(init=False, default_factory=set)

    def after(self, last: str | None) -> Manifest | None:
        """The batch to load after ``last``; None at the end. Each batch is tried once in each way."""
        self.lost = None
        for each in self.chain.batches if self.chain else ():
            if last is not None and each.batch_id <= last:
                continue
            follows = each.previous == last and (each.batch_id, False) not in self._tried
            if not follows and (each.batch_id, True) in self._tried:
                continue
            try:
                manifest = read_manifest(self.raw, each.path)
            except ObjectMissing as error:
                self.lost = error
                continue
            if self.until and manifest.snapshot_at > self.until:
                return None
            if follows or is_complete(manifest, self.tables):
                self._tried.add((each.batch_id, not follows))
                return manifest if follows else rebased(manifest, last)
        return None


@dataclass
class Rebuild:
    """A rebuild from one of the chains in the raw bucket."""

    raw: Bucket
    processed: Bucket
    selection: Selection
    until: datetime | None = None
    chains: list[Chain] = field(init=False)
    chain: Chain | None = field(init=False)

    def __post_init__(self) -> None:
        self.chains = chains.find(self.raw)
        self.chain = self.selection.choose(self.chains)
        if self.chain and not self.selection.may_continue(self.chain):
            self.chain = None

    @property
    def owner(self) -> Destination | None:
        """The warehouse whose batches these are; None if the batches do not name it."""
        return self.chain.end.warehouse if self.chain else None

    def run(self, last: Callable[[], str | None], load: Callable[[Manifest], _Report]) -> Iterator[_Report]:
        """Load the batches after the warehouse's ``last`` one; yields the result of ``load`` for each.

        Raises the error of the last batch if it cannot be loaded, and LakeIncomplete if the last ones are
        lost.
        """
        self._log_choice()
        failed: PipelineError | None = None
        steps = Steps(self.raw, self.chain, self.selection.tables, self.until)
        while manifest := steps.after(before := last()):
            if manifest.resumed:
                _log_gap(failed or steps.lost or f"No batch follows {before or 'nothing'}", manifest)
                manifests.seal(self.raw, manifest)
            try:
                yield load(manifest)
                failed = None
            except CANNOT_LOAD as error:
                failed = error
        if failed:
            raise failed
        self._check_reached(last())

    def _log_choice(self) -> None:
        """Log whose batches are used, if they are not the warehouse's own or not the only ones."""
        if self.chain is None:
            return
        others = [each for each in self.chains if each.owner not in {self.chain.owner, chains.UNKNOWN}]
        is_own = self.chain.belongs_to(self.selection.destination)
        if others or (self.owner and not is_own):
            _logger.log(
                logging.INFO if is_own else logging.WARNING,
                "Rebuilding from the batches of %s; not used are those of %s",
                self.chain.summary,
                chains.summaries(others),
            )

    def _check_reached(self, last: str | None) -> None:
        """Raise LakeIncomplete if batches after the last one in the bucket are lost."""
        if lost := self._lost(last):
            raise LakeIncomplete(
                f"raw bucket: {counted(len(lost), 'batch is', 'batches are')} lost, {lost[0]} to {lost[-1]},"
                f" after the last one that is left, and the warehouse is at {last or 'none'}; restore the"
                " bucket's objects and rebuild again, or run `make run`, which reads what the source has now,"
                " without the changes between"
            )
        if not self.chains and last is None:
            raise LakeIncomplete(
                f"raw bucket: {self.raw.uri} holds no batch, so there is nothing to rebuild from; restore"
                " its objects, or run `make run`, which reads the source"
            )
        if last and not any(chain.holds(last) for chain in self.chains):
            _logger.warning(
                "The raw bucket lacks batch %s, the warehouse's last one; the next run reads all in full",
                last,
            )

    def _lost(self, last: str | None) -> list[str]:
        """Ids of lost batches: noted in the processed bucket and newer than any in the raw one."""
        present = {each.batch_id for chain in self.chains for each in chain.batches}
        newest = max(last or "", self.chain.end.batch_id if self.chain and not self.until else "")
        until = f"{self.until.astimezone(UTC):{TIME}}~" if self.until else "~"
        owners = {self.selection.destination.id, self.chain.owner} if self.chain else None
        noted = {
            name for owner, name in chains.recorded_seals(self.processed) if owners is None or owner in owners
        }
        return sorted(name for name in noted - present if newest < name < until)


def _log_gap(why: object, manifest: Manifest) -> None:
    _logger.warning(
        "%s; continuing at batch %s, which holds all rows; the changes between are not in the history",
        why,
        manifest.batch_id,
    )
