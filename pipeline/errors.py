"""What can go wrong, each as one line that says what, where and what to do."""


class PipelineError(Exception):
    """A failure that its message explains in full; no traceback is owed."""


class SettingsError(PipelineError):
    """A setting or block is missing, unknown or malformed."""


class SourceError(PipelineError):
    """The source database refused, or holds something that cannot be carried."""


class SnapshotLost(SourceError):
    """The exported snapshot is gone, so the rest of its batch cannot be read."""


class BucketError(PipelineError):
    """A bucket is missing, denies access or lacks an object."""


class ObjectMissing(BucketError):
    """An object that should be in a bucket is not there."""


class ObjectDamaged(ObjectMissing):
    """An object in a bucket is not what was written; what was is as good as lost."""


class AnotherSource(PipelineError):
    """A sealed batch was read from another source than the one that the run reads."""


class LakeIncomplete(PipelineError):
    """The raw bucket lacks batches without which a rebuild cannot bring everything back."""


class ModelError(PipelineError):
    """A model is wrong: its file, the line, and what DuckDB says of it."""


class UnfitBatch(ModelError):
    """A sealed batch lacks what the models need: the source's columns had changed when it was read."""


class WarehouseError(PipelineError):
    """The warehouse refused, or does not match what the models yield."""


class LockTimeout(PipelineError):
    """Another session holds a lock for longer than a run waits."""


class TooManyRejected(PipelineError):
    """A batch has more rows to reject than a run allows."""


class ConcurrentRunError(PipelineError):
    """Another run has moved the warehouse's watermark meanwhile."""


class WarehouseBusy(ConcurrentRunError):
    """Another run is at work on the warehouse."""


# What a sealed batch may fail with for good, unless the source is read again.
CANNOT_LOAD = (AnotherSource, ModelError, ObjectMissing, TooManyRejected, WarehouseError)
