"""What a model yields for a batch, and what a table was last computed with."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.columns import Column, Frozen
from pipeline.lake.manifest import Files, State
from pipeline.models.target import Target


class Output(Frozen):
    """What a model yields for a batch.

    ``files`` hold the rows that are new or differ, or with ``complete`` all rows of the result. ``deleted``
    holds the keys of rows that left the result; with ``replaces`` all other rows of the warehouse have left
    it, too. ``rejected`` holds rows that break the contract, with ``rejects_all`` all of the result's.
    ``result`` is the state that the next batch is compared with.
    """

    model: str
    fingerprint: str
    complete: bool
    columns: tuple[Column, ...]
    files: Files
    rejected: Files
    deleted: Files = ()
    replaces: bool = False
    rejects_all: bool = False
    result: State | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its columns."""
        return tuple(column.name for column in self.columns)

    @property
    def rows(self) -> int:
        """The number of rows in the files."""
        return sum(file.rows for file in self.files)

    @property
    def rejected_rows(self) -> int:
        """The number of rejected rows."""
        return sum(file.rows for file in self.rejected)


def no_output(target: Target) -> Output:
    """The output of a model that did not run."""
    names = [column.name for column in target.columns if not (column.filled or column.generated)]
    return Output(
        model=target.name,
        fingerprint="",
        complete=False,
        columns=columns_of(target, names),
        files=(),
        rejected=(),
    )


def columns_of(target: Target, names: Sequence[str]) -> tuple[Column, ...]:
    """Columns of a warehouse table with their Postgres types."""
    types = {column.name: column.type for column in target.columns}
    return tuple(Column(name=name, type=types[name]) for name in names)


def combined(outputs: Sequence[Output]) -> Output:
    """The outputs of a batch's splits as one; no key has rows in two of them."""
    files = tuple(file for output in outputs for file in output.files)
    rejected = tuple(file for output in outputs for file in output.rejected)
    return outputs[0].model_copy(update={"files": files, "rejected": rejected})


class Loaded(Frozen):
    """What a table was last computed with: the model's fingerprint, and its result if it is stored.

    A table ``to_restate`` has earlier versions of another model, none, or some that refer to later rows.
    """

    fingerprint: str
    result: State | None = None
    to_restate: bool = False
