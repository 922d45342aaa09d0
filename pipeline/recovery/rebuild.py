"""Load again, in order, what the raw bucket has of one warehouse's batches."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from pipeline.errors import CANNOT_LOAD, LakeIncomplete, ObjectMissing, PipelineError
from pipeline.lake import chains, manifests
from pipeline.lake.buckets import Bucket
from pipeline.lake.chains import Chain
from pipeline.lake.manifest import TIME, Destination, Manifest
from pipeline.lake.manifests import read_manifest
from pipeline.lake.past import is_complete, rebased
from pipeline.source.snapshots import Identity
from pipeline.words import counted

_logger = logging.getLogger(__name__)
_Report = TypeVar("_Report")


@dataclass(frozen=True)
class Wanted:
    """What is rebuilt: which warehouse, whose last batch is ``last``, for models that read ``tables``.

    ``source`` is where the warehouse is fed from, as far as it answers. ``named`` is the id of the warehouse
    whose batches are wanted, where somebody chose one.
    """

    home: Destination
    last: str | None
    tables: frozenset[str]
    source: Identity | None = None
    named: str = ""

    def choose(self, found: Sequence[Chain]) -> Chain | None:
        """The chain to rebuild from; None where there is none.

        The one that was named; or else the warehouse's own, by its id or its place; or else the newest that
        has all tables and was not read from another source. A warehouse that has batches goes on where these
        lead. Raises LakeIncomplete where there are only chains that have to be named.
        """
        if self.named:
            return self._newest([chain for chain in found if chain.owner == self.named], found)
        if self.last is not None:
            own = [chain for chain in found if chain.belongs_to(self.home)]
            leading = [chain for chain in found if chain.holds(str(self.last))]
            return max(leading or own, key=self._rank, default=None)
        usable = [chain for chain in found if chain.belongs_to(self.home) or self._is_ours(chain)]
        return self._newest(usable, found) if found else None

    def _newest(self, usable: Sequence[Chain], found: Sequence[Chain]) -> Chain:
        if not usable:
            of = f"warehouse {self.named}" if self.named else f"this warehouse or its source, {self.source}"
            raise LakeIncomplete(
                f"raw bucket: no batch is of {of}; it has those of {chains.summaries(found)};"
                ' to rebuild from another warehouse\'s, name it: make rebuild ARGS="--warehouse ID"'
            )
        return max(usable, key=self._rank)

    def _rank(self, chain: Chain) -> tuple[bool, bool, str]:
        return chain.belongs_to(self.home), self.tables <= chain.end.tables.keys(), chain.end.batch_id

    def _is_ours(self, chain: Chain) -> bool:
        """Whether it may be ours, though nothing says that it is."""
        return (
            chain.end.warehouse is None
            or self.source is None
            or chain.end.identity.is_same_database(self.source)
        )


@dataclass
class Steps:
    """The batches of a chain in the order in which a rebuild loads them.

    A batch follows the one before it as it is. Where that is lost or one was refused, the next one that
    holds all rows of the ``tables`` follows instead; ``lost`` then says which manifest could not be read.
    """

    raw: Bucket
    chain: Chain | None
    tables: frozenset[str]
    until: datetime | None = None
    lost: ObjectMissing | None = field(init=False, default=None)
    _tried: set[tuple[str, bool]] = field(init=False, default_factory=set)

    def after(self, last: str | None) -> Manifest | None:
        """The batch to load after ``last``; none is given twice in the same way."""
        self.lost = None
        for each in self.chain.batches if self.chain else ():
            if last is not None and each.batch_id <= last:
                continue
            follows = each.previous == last and (each.batch_id, False) not in self._tried
            if not follows and (each.batch_id, True) in self._tried:
                continue
            try:
                manifest = read_manifest(self.raw, each.path)
            except ObjectMissing as lost:
                self.lost = lost
                continue
            if self.until and manifest.snapshot_at > self.until:
                return None
            if follows or is_complete(manifest, self.tables):
                self._tried.add((each.batch_id, not follows))
                return manifest if follows else rebased(manifest, last)
        return None


@dataclass
class Rebuild:
    """A rebuild from one chain of those that are in the raw bucket."""

    raw: Bucket
    processed: Bucket
    wanted: Wanted
    until: datetime | None = None
    found: list[Chain] = field(init=False)
    chain: Chain | None = field(init=False)

    def __post_init__(self) -> None:
        self.found = chains.find(self.raw)
        self.chain = self.wanted.choose(self.found)

    @property
    def owner(self) -> Destination | None:
        """The warehouse whose batches these are, where that is known."""
        return self.chain.end.warehouse if self.chain else None

    def run(self, last: Callable[[], str | None], load: Callable[[Manifest], _Report]) -> Iterator[_Report]:
        """Load batches after the ``last`` one that the warehouse has; yields what ``load`` makes of each.

        Raises what the last batch was refused with, and LakeIncomplete where the last ones are lost.
        """
        self._tell_choice()
        refused: PipelineError | None = None
        steps = Steps(self.raw, self.chain, self.wanted.tables, self.until)
        while manifest := steps.after(before := last()):
            if manifest.resumed:
                _tell_gap(refused or steps.lost or f"No batch follows {before or 'nothing'}", manifest)
                manifests.seal(self.raw, manifest)
            try:
                yield load(manifest)
                refused = None
            except CANNOT_LOAD as error:
                refused = error
        if refused:
            raise refused
        self._check_reached(last())

    def _tell_choice(self) -> None:
        """Say from what it is rebuilt, where that is not the warehouse's own or not the only one."""
        if self.chain is None:
            return
        others = [each for each in self.found if each.owner not in {self.chain.owner, chains.UNKNOWN}]
        is_own = self.chain.belongs_to(self.wanted.home)
        if others or (self.owner and not is_own):
            _logger.log(
                logging.INFO if is_own else logging.WARNING,
                "Rebuilding from the batches of %s; left alone are those of %s",
                self.chain.summary,
                chains.summaries(others),
            )

    def _check_reached(self, last: str | None) -> None:
        """Raise LakeIncomplete where batches were sealed later than all that is there."""
        if lost := self._lost(last):
            raise LakeIncomplete(
                f"raw bucket: {counted(len(lost), 'batch is', 'batches are')} lost, {lost[0]} to {lost[-1]},"
                f" after the last one that is there, and the warehouse is at {last or 'none'}; put back what"
                " the bucket lost and rebuild again; or run `make run`, which reads what the source has now,"
                " without what changed between"
            )
        if not self.found and last is None:
            raise LakeIncomplete(
                f"raw bucket: {self.raw.uri} holds no batch, so there is nothing to rebuild from; put back"
                " what it lost, or run `make run`, which reads the source"
            )
        if last and not any(chain.holds(last) for chain in self.found):
            _logger.warning(
                "The raw bucket lacks batch %s, at which the warehouse is; the next run reads all tables",
                last,
            )

    def _lost(self, last: str | None) -> list[str]:
        """Batches that the processed bucket knows of and the raw bucket lacks, newer than all that it has."""
        there = {each.batch_id for chain in self.found for each in chain.batches}
        newest = max(last or "", self.chain.end.batch_id if self.chain and not self.until else "")
        until = f"{self.until.astimezone(UTC):{TIME}}~" if self.until else "~"
        owners = {self.wanted.home.id, self.chain.owner} if self.chain else None
        named = {
            name for owner, name in chains.recorded_seals(self.processed) if owners is None or owner in owners
        }
        return sorted(name for name in named - there if newest < name < until)


def _tell_gap(why: object, manifest: Manifest) -> None:
    _logger.warning(
        "%s; going on at batch %s, which holds all rows; what changed between is not in the history",
        why,
        manifest.batch_id,
    )
