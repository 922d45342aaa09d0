"""What a plan says about one table, a mart, or the file schema.sql."""

from typing import Literal

from pydantic import ConfigDict, Field

from pipeline.columns import Frozen
from pipeline.review.feeds import Feed
from pipeline.warehouse.dependents import Dependent

Effect = Literal[
    "created", "filled", "restated", "compared", "refilled", "altered", "unchanged", "frozen", "dropped",
    "executed", "schema broken", "seed gone", "mart created", "mart replaced", "mart dropped", "mart broken",
    "check broken",
]  # fmt: skip


class TableChange(Frozen):
    """A change of a table, or of its ``column`` if that is not empty.

    ``sql`` are the statements. ``consent`` is what has to be allowed, if anything; ``is_refused``: a run
    fails until it is; ``happens``: the run makes the change, and then allows itself the ``follow_up``.
    """

    kind: str
    column: str
    summary: str
    sql: tuple[str, ...]
    risk: str
    consent: str
    is_refused: bool
    happens: bool
    follow_up: str = ""


class Preview(Frozen):
    """What happens to a table, a mart, or a check that breaks.

    ``restated`` over ``batches``, so that no version is made; ``compared`` where the lake or the model
    does not allow that: rows that differ get new versions. ``refilled`` if the table is made again, and
    ``frozen`` if its model was removed. The table ``schema.sql`` stands for the file, which is ``executed``
    for the sake of indexes, comments and the like if no table has other columns; ``schema broken`` if that
    fails. ``seed gone``: the file of a seed that models read.

    ``model_diff`` and ``table_diff`` are the lines of unified diffs of the model and of the table's
    declaration, empty where the former text is not known. ``rows`` and ``versions`` are those of the table,
    ``rows_read`` the rows that are computed again, which takes about ``seconds`` (None if no batch was
    timed). ``in_place``: the model only gained these columns, so that no more than they is written.
    ``breaks`` are objects of others that the change drops or that stand in its way. ``read_in_full``
    are source tables; in JSON they are ``read_whole``, which programs know. ``feeds`` are columns that other
    columns of the source feed than before. ``error`` is why a run fails: a mart or a check breaks,
    ``schema.sql`` does not declare the table, or the last batch cannot compute the model.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    table: str
    effect: Effect
    changes: tuple[TableChange, ...] = ()
    model_diff: tuple[str, ...] = ()
    table_diff: tuple[str, ...] = ()
    batches: int = 0
    rows: int = 0
    versions: int = 0
    rows_read: int = 0
    in_place: tuple[str, ...] = ()
    seconds: float | None = None
    read_by: tuple[str, ...] = ()
    breaks: tuple[Dependent, ...] = ()
    read_in_full: tuple[str, ...] = Field(default=(), serialization_alias="read_whole")
    feeds: tuple[Feed, ...] = ()
    error: str = ""

    @property
    def altered(self) -> tuple[str, ...]:
        """The statements that the run executes."""
        return tuple(text for change in self.changes if change.happens for text in change.sql)

    @property
    def by_hand(self) -> tuple[str, ...]:
        """The statements of changes that nobody has allowed."""
        return tuple(text for change in self.changes if not change.happens for text in change.sql)

    @property
    def consents(self) -> tuple[str, ...]:
        """What has to be allowed."""
        return tuple(change.consent for change in self.changes if not change.happens)
