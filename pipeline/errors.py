"""Errors whose message is one line: what failed, where, and what to do."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager


class PipelineError(Exception):
    """An error that its message explains; it is shown without a traceback."""


class SettingsError(PipelineError):
    """A setting or block is missing, unknown or malformed."""


class SourceError(PipelineError):
    """The source refused a request, or has data that cannot be read."""


class NotCarried(SourceError):
    """A column holds a value that it can only be read as text for; ``place`` is its table and name."""

    place: tuple[str, str] | None = None


class SnapshotLost(SourceError):
    """The exported snapshot has ended, so the rest of its batch cannot be read."""


class BucketError(PipelineError):
    """A bucket is missing, denies access or lacks an object."""


class ObjectMissing(BucketError):
    """An object that should be in a bucket is not there."""


class ObjectDamaged(ObjectMissing):
    """An object in a bucket differs from what was written, so it counts as missing."""


class AnotherSource(PipelineError):
    """A sealed batch was read from another source than the one that the run reads."""


class LakeIncomplete(PipelineError):
    """The raw bucket lacks batches that a complete rebuild needs."""


class ModelError(PipelineError):
    """A model is wrong; the message has its file and line, one line for each mistake."""


class UnusableBatch(ModelError):
    """A sealed batch lacks tables or columns that the models read."""


class WarehouseError(PipelineError):
    """The warehouse refused a request, or its tables do not match the models."""


class RightMissing(PipelineError):
    """A database's role lacks a right; ``refusal`` is what Postgres says, without what to do."""

    refusal = ""


class LockTimeout(PipelineError):
    """Another session holds a lock for longer than a run waits."""


class TooManyRejected(PipelineError):
    """A batch rejects more rows than a run allows."""


class ConcurrentRunError(PipelineError):
    """Another run has loaded a batch in the meantime."""


class WarehouseBusy(ConcurrentRunError):
    """Another run is at work on the warehouse."""


# Errors with which a sealed batch fails for good: the source is then read again.
CANNOT_LOAD = (AnotherSource, ModelError, ObjectMissing, TooManyRejected, WarehouseError)


@contextmanager
def all_mistakes() -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Collect the ModelErrors of several blocks, and raise them as one at the end, each mistake once."""
    found: list[ModelError] = []

    @contextmanager
    def one() -> Iterator[None]:
        try:
            yield
        except ModelError as error:
            found.append(error)

    yield one
    lines = dict.fromkeys(line for error in found for line in str(error).splitlines())
    if len(lines) == 1:
        raise found[0]
    if lines:
        raise ModelError("\n".join(lines))
