"""Columns that models declare as personal data."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.columns import Column
from pipeline.errors import ModelError, SettingsError

if TYPE_CHECKING:
    from pipeline.models.library import Model
from pipeline.source.hashing import HashKey


@dataclass(frozen=True)
class Declared:
    """A column that a header calls personal, as it names it; its table where it says so."""

    column: str
    table: str | None
    hashed: bool

    @property
    def spelled(self) -> str:
        """As the header spells it."""
        return f"{self.table}.{self.column}" if self.table else self.column


def personal_columns(
    models: Mapping[str, "Model"], tables: Mapping[str, Collection[str]]
) -> dict[str, dict[str, bool]]:
    """The personal columns of these tables, and whether they are hashed, by table and name.

    Raises ModelError where a header names a column that no table of its model has, or several have.
    """
    found: dict[str, dict[str, bool]] = {}
    for model in models.values():
        for declared in model.personal:
            table = _table_of(model, declared, tables)
            named = found.setdefault(table, {})
            named[declared.column] = declared.hashed or named.get(declared.column, False)
    return found


def _table_of(model: "Model", declared: Declared, tables: Mapping[str, Collection[str]]) -> str:
    having = [
        name
        for name in sorted(model.reads & tables.keys())
        if declared.column in tables[name] and declared.table in {None, name}
    ]
    if len(having) == 1:
        return having[0]
    where = f"{model.path}: personal column {declared.spelled}"
    if having:
        raise ModelError(f"{where} is in {' and in '.join(having)}; write {having[0]}.{declared.column}")
    raise ModelError(f"{where} is in no table of the source that it reads; correct the name, or leave it out")


def key_id(models: Mapping[str, "Model"], key: HashKey | None) -> str:
    """The key's id, or an empty text where no model hashes; raises SettingsError where one lacks the key."""
    for model in models.values():
        for declared in model.personal:
            if declared.hashed and key is None:
                raise SettingsError(
                    f"{model.path}: {declared.spelled} is hashed, and there is no key; set TOTESYS_HASH_KEY"
                    " and run `make blocks`"
                )
    return key.id if key else ""


def hashes(models: Mapping[str, "Model"]) -> bool:
    """Whether a model has columns hashed."""
    return any(declared.hashed for model in models.values() for declared in model.personal)


def with_hashes(columns: Collection[Column], hashed: Mapping[str, bool], key: str) -> Iterator[Column]:
    """The columns as they are read: hashes are texts, whatever is hashed."""
    for column in columns:
        if hashed.get(column.name):
            yield Column(name=column.name, type="text", cast=column.cast, hashed_by=key)
        else:
            yield column
