"""Columns that models declare as personal data."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.columns import Column
from pipeline.errors import ModelError, SettingsError

if TYPE_CHECKING:
    from pipeline.models.library import Model
from pipeline.source.hashing import HashKey
from pipeline.source.table_names import in_model, of_another_schema, of_column


@dataclass(frozen=True)
class Declared:
    """A column that a header declares as personal, with its table if the header names it.

    ``dropped``: the source does not have it any more.
    """

    column: str
    table: str | None
    hashed: bool
    dropped: bool = False

    @property
    def spelled(self) -> str:
        """The column as the header names it."""
        return of_column(self.table, self.column) if self.table else self.column


def personal_columns(
    models: Mapping[str, "Model"], tables: Mapping[str, Collection[str]]
) -> dict[str, dict[str, bool]]:
    """The personal columns of these tables, by table and name, and whether they are hashed.

    Raises ModelError if a header names a column that none or several of its model's tables have, or a dropped
    one that one has.
    """
    personal: dict[str, dict[str, bool]] = {}
    for model in models.values():
        for declared in model.personal:
            table = _table_of(model, declared, tables)
            if table is None:
                continue
            columns = personal.setdefault(table, {})
            columns[declared.column] = declared.hashed or columns.get(declared.column, False)
    return personal


def _table_of(model: "Model", declared: Declared, tables: Mapping[str, Collection[str]]) -> str | None:
    """The table of a column; None for a dropped one."""
    candidates = [
        name
        for name in sorted(model.reads & tables.keys())
        if declared.column in tables[name] and declared.table in {None, name}
    ]
    if bool(candidates) != declared.dropped and len(candidates) < 2:  # noqa: PLR2004
        return candidates[0] if candidates else None
    where = f"{model.at_header('personal', declared.column)}: personal column {declared.spelled}"
    if declared.dropped:
        raise ModelError(f"{where} is in {candidates[0]}; remove the word dropped, or name another table")
    if candidates:
        raise ModelError(
            f"{where} is in {' and in '.join(candidates)}; write"
            f" {in_model(of_column(candidates[0], declared.column))}"
        )
    meant = of_another_schema(declared.table or "", model.reads & tables.keys())
    correction = f"write {in_model(of_column(meant, declared.column))}" if meant else "correct the name"
    raise ModelError(
        f"{where} is in no table of the source that it reads; {correction}, or write"
        f" `-- personal: dropped {declared.spelled}` if the source has dropped it"
    )


def key_id(models: Mapping[str, "Model"], key: HashKey | None) -> str:
    """The id of the hash key, or an empty text; raises SettingsError if a model needs it."""
    for model in models.values():
        for declared in model.personal:
            if declared.hashed and key is None:
                raise SettingsError(
                    f"{model.at_header('personal', declared.column)}: {declared.spelled} is hashed, and there"
                    " is no key; set TOTESYS_HASH_KEY and run `make blocks`"
                )
    return key.id if key else ""


def hashes(models: Mapping[str, "Model"]) -> bool:
    """Whether a model declares hashed columns."""
    return any(declared.hashed for model in models.values() for declared in model.personal)


def with_hashes(columns: Collection[Column], hashed: Mapping[str, bool], key: str) -> Iterator[Column]:
    """The columns as they are read; a hashed column is text."""
    for column in columns:
        if hashed.get(column.name):
            yield Column(name=column.name, type="text", cast=column.cast, hashed_by=key)
        else:
            yield column
