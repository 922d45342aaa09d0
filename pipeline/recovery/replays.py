"""What refills a table: the outputs of its model for batches that the lake holds."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from pipeline.errors import ModelError, ObjectMissing, UnusableBatch
from pipeline.lake.adapt import UnreadTables, with_later_columns
from pipeline.lake.buckets import Bucket
from pipeline.lake.manifest import Manifest, StateDelta, TableBatch
from pipeline.lake.state import write_merged
from pipeline.models.library import Model, closure, tables_read
from pipeline.models.output import Loaded, Output
from pipeline.models.reference_tables import NAMES
from pipeline.models.target import Target
from pipeline.models.transform import transform
from pipeline.models.work import Work, needed
from pipeline.recovery.batches import Batches
from pipeline.warehouse.mismatches import Mismatch

_logger = logging.getLogger(__name__)

_UNUSABLE = (ModelError, ObjectMissing)  # for a batch that cannot be computed again


@dataclass(frozen=True)
class Replay:
    """How a table is refilled: its model's outputs for a number of batches.

    With ``empties`` its rows and rejected rows are deleted first. With ``restores`` the only output has all
    rows, and the history stays.
    """

    target: Target
    outputs: tuple[tuple[Manifest, Output], ...]
    loaded: Loaded
    empties: bool = False
    restores: bool = False

    @property
    def forgets_versions(self) -> bool:
        """Whether all versions of a dimension are loaded again, beside its rows."""
        return self.empties and not (self.restores or self.target.fact or self.target.bridge)

    def output(self, manifest: Manifest) -> Output | None:
        """The model's output for a batch, if it has one."""
        return next((output for batch, output in self.outputs if batch.batch_id == manifest.batch_id), None)


@dataclass(frozen=True)
class Replayer:
    """The models, their tables and both buckets: computes outputs for batches again."""

    models: Mapping[str, Model]
    targets: Mapping[str, Target]
    raw: Bucket
    processed: Bucket

    def replay(self, mismatch: Mismatch, batches: Batches) -> Replay | None:
        """How to refill a table; None if the lake lacks what that needs."""
        target = self.targets[mismatch.table]
        try:
            known = batches.manifests if mismatch.is_erased else batches.is_complete
            if known and (target.fact or mismatch.lacks_history):
                return self._forward(target, batches.manifests, empties=True)
            if not target.fact and not mismatch.may_be_ahead:
                return self._present(target, batches)
        except _UNUSABLE as error:
            _logger.warning("warehouse: %s cannot be filled with its history: %s", target.name, error)
        if mismatch.may_be_ahead and not mismatch.is_empty:
            return None  # its rows may exist nowhere else
        if not target.fact:
            with suppress(*_UNUSABLE):
                return self._present(target, batches)
            return None
        return self._last_batches(target, batches) if mismatch.is_empty else None

    def _last_batches(self, target: Target, batches: Batches) -> Replay | None:
        """The last batches, as many as can be computed again."""
        for start in range(len(batches.manifests)):
            try:
                return self._forward(target, batches.manifests[start:], empties=True)
            except _UNUSABLE:
                continue
        return None

    def _forward(self, target: Target, manifests: Sequence[Manifest], *, empties: bool) -> Replay:
        outputs, unread = [], self.unread_tables(target.name)
        loaded: Loaded | None = None
        for manifest in map(unread.added_to, manifests):
            output = self.output(target.name, manifest, loaded)
            if output:
                outputs.append((manifest, output))
                loaded = Loaded(fingerprint=output.fingerprint, result=output.result)
        return Replay(target, tuple(outputs), loaded or Loaded(fingerprint=""), empties=empties)

    def _present(self, target: Target, batches: Batches) -> Replay | None:
        """The model's present result, with former rows as they last were if its table keeps these."""
        if not batches.manifests:
            return None
        *earlier, last = batches.manifests
        empties = target.bridge and not self.models[target.name].keeps_rows
        present = self._forward(target, [last], empties=empties)
        ((_, output),) = present.outputs
        if not empties:
            with suppress(*_UNUSABLE):  # without earlier batches, former rows stay as they are
                before = self._forward(target, earlier, empties=False).outputs
                output = self._with_earlier(target, output, [each for _, each in before], last.batch_id)
        return replace(present, outputs=((last, output),), restores=True)

    def _with_earlier(
        self, target: Target, present: Output, before: Sequence[Output], batch_id: str
    ) -> Output:
        """The present result, and the newest earlier rows of keys that are no longer in it."""
        table = TableBatch(
            table=target.name, mode="changes", reason="", columns=present.columns, key=target.key, heaps=""
        )
        runs = tuple(StateDelta(files=output.files) for output in (*before, present))
        return present.model_copy(update={"files": write_merged(table, runs, batch_id, self.processed)})

    def work(self, models: Mapping[str, Model], manifest: Manifest, loaded: Loaded | None = None) -> Work:
        """One run of the last of these models on a batch."""
        return Work(models, self.targets, manifest, loaded, self.raw, self.processed)

    def unread_tables(self, name: str) -> UnreadTables:
        """Adds to batches the tables that a model reads and that they lack."""
        return UnreadTables(self.raw, tables_read(closure(self.models, name)) - NAMES)

    def output(self, name: str, manifest: Manifest, loaded: Loaded | None) -> Output | None:
        """A model's output for a batch; None if the batch does not change its result.

        Columns and tables that only later batches have are NULL or empty, as in a rebuild.
        """
        try:
            return self._computed(name, manifest, loaded)
        except ModelError:
            tables = tables_read(closure(self.models, name))
            return self._computed(name, with_later_columns(self.raw, manifest, tables), loaded)

    def _computed(self, name: str, manifest: Manifest, loaded: Loaded | None) -> Output | None:
        """The output for a batch that has all tables and columns that the model reads."""
        below = closure(self.models, name)
        if missing := tables_read(below) - manifest.tables.keys() - NAMES:
            raise UnusableBatch(f"batch {manifest.batch_id} was read before {name} read {', '.join(missing)}")
        if not needed(below, manifest, loaded):
            return None
        work = self.work(below, manifest, loaded)
        if loaded is None and any(table.state is None and table.mode != "full" for table in work.tables):
            raise UnusableBatch(f"batch {manifest.batch_id} has no state of all that {name} reads")
        return transform(work)
