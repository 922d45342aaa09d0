"""How many rows a load may reject or delete before it stops."""

from dataclasses import dataclass

from pipeline.errors import TooManyRejected
from pipeline.models.target import Target
from pipeline.settings import DELETED_SHARE, REJECTED_SHARE
from pipeline.words import counted

# How many rows of a table may always be rejected or deleted, whatever their share is; and how many may be
# rejected if a batch has all rows of the table.
ALWAYS_ALLOWED = 1_000
_ALLOWED_OF_ALL_ROWS = 100
NO_LIMIT = 2**62


@dataclass(frozen=True)
class Limits:
    """The limits of one load. A share is a fraction from 0 to 1, and 1 means no limit.

    ``rejected`` limits the rejected rows of all tables together. ``rejected_share`` is a share of the rows
    that a batch brings to a table. ``deleted_share`` is a share of a table's rows; it overrides the model's
    ``max_deleted_share``, which overrides ``default_deleted_share``.
    """

    rejected: int | None = None
    rejected_share: float = REJECTED_SHARE
    deleted_share: float | None = None
    default_deleted_share: float = DELETED_SHARE

    def rejected_rows(self, read: int, *, complete: bool) -> int:
        """How many of a batch's rows of a table may be rejected; ``complete``: it has all of the table's."""
        if self.rejected_share >= 1:
            return NO_LIMIT
        return max(_ALLOWED_OF_ALL_ROWS if complete else ALWAYS_ALLOWED, int(self.rejected_share * read))

    def deleted_share_of(self, target: Target) -> float:
        """The share of a table's rows that may be deleted."""
        shares = (self.deleted_share, target.max_deleted_share, self.default_deleted_share)
        return next(share for share in shares if share is not None)

    def check_rejected(self, rejected: int) -> None:
        """Raise TooManyRejected if the load rejects more rows than it may."""
        if self.rejected is not None and rejected > self.rejected:
            raise TooManyRejected(
                f"warehouse: {counted(rejected, 'row')} would be rejected, more than the"
                f" {self.rejected:,} allowed; nothing was loaded"
            )


DEFAULT = Limits()
# For batches that the warehouse has accepted before.
UNLIMITED = Limits(rejected_share=1, deleted_share=1)
