"""What a model made of a batch, and what a table was last computed with."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.columns import Column, Frozen
from pipeline.lake.manifest import Files, State
from pipeline.models.target import Target


class Output(Frozen):
    """What a model made of a batch.

    ``files`` are rows that are new or differ, ``gone`` the keys of rows that left the result. Where it
    is ``complete`` the files are all rows that the result has; with ``replaces`` rows of the warehouse
    that are not among them have left it. ``rejected`` are rows that do not fit, all of the result's where
    ``rejects_all``. ``result`` is what the next batch compares with.
    """

    model: str
    fingerprint: str
    complete: bool
    columns: tuple[Column, ...]
    files: Files
    rejected: Files
    gone: Files = ()
    replaces: bool = False
    rejects_all: bool = False
    result: State | None = None

    @property
    def rows(self) -> int:
        """Rows that fit."""
        return sum(file.rows for file in self.files)

    @property
    def rejected_rows(self) -> int:
        """Rows rejected."""
        return sum(file.rows for file in self.rejected)


def nothing(target: Target) -> Output:
    """The output of a model that was not needed."""
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
    """Columns of a warehouse table by name, with their Postgres types."""
    types = {column.name: column.type for column in target.columns}
    return tuple(Column(name=name, type=types[name]) for name in names)


def joined(outputs: Sequence[Output]) -> Output:
    """The outputs of a batch's pieces as one; no key has rows in two of them."""
    files = tuple(file for output in outputs for file in output.files)
    rejected = tuple(file for output in outputs for file in output.rejected)
    return outputs[0].model_copy(update={"files": files, "rejected": rejected})


class Loaded(Frozen):
    """What a table was last computed with: the model, and its result where it is kept."""

    fingerprint: str
    result: State | None = None
