"""Another kind or key of a table, by its model's headers or its primary key."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from pipeline.errors import ModelError
from pipeline.models import headers
from pipeline.models.library import Model
from pipeline.postgres import Connection, texts
from pipeline.warehouse import evolve
from pipeline.warehouse.declarations import Columns, primary_key
from pipeline.warehouse.evolve import Change
from pipeline.words import did_you_mean

_REMADE = "the table is made again and filled from the batches in the raw bucket"
_LOST = "versions of before the first batch there are lost"


def differ(models: Mapping[str, Model], texts: Mapping[str, str]) -> bool:
    """Whether a model names another kind or key than the text that its table was computed with."""
    return any(
        _head(models[name].path, text) != _head(models[name].path, models[name].sql)
        for name, text in texts.items()
        if name in models
    )


def check_key(model: Model, key: Iterable[str], columns: Collection[str]) -> None:
    """Raise ModelError if a column of the key is not one of the columns of the model's table."""
    for name in key:
        if name not in columns:
            near = did_you_mean(name, columns)
            raise ModelError(
                f"{model.at_header('key', name)}: key column {name} is not in the warehouse table"
                f" {model.name}{near}"
            )


def changes(
    connection: Connection,
    schema: str,
    name: str,
    model: Model,
    text: str | None,
    existing: Columns,
    declared: Columns | None,
    before: Columns | None,
    names: Mapping[str, str],
) -> Iterator[Change]:
    """The change of a table that was computed by a model of this ``text`` with another kind or key.

    ``name`` is the table's present name, whose prefix can tell its kind, and ``names`` are new names of its
    columns by old name.
    """
    was = _head(model.path.with_name(f"{name}.sql"), text)
    if was and was[0] != model.kind and declared is not None:
        summary = f"the {was[0]} becomes a {model.kind}: {_REMADE}"
        yield Change(model.name, "", "remade", summary, (), _LOST, remakes=True)
        return
    is_fact = model.kind == "fact"
    declared_key, former_key = (
        () if is_fact or not each else primary_key(each) for each in (declared, before)
    )
    old_key = (was and was[1]) or former_key
    old, new = tuple(names.get(column, column) for column in old_key), model.key or declared_key
    if not (old and new) or set(old) == set(new):
        return
    check_key(model, new, declared or existing)
    if model.kind != "dimension" and declared is not None:
        summary = f"the key ({', '.join(old)}) becomes ({', '.join(new)}): {_REMADE}"
        yield Change(model.name, "", "rekeyed", summary, (), _LOST, remakes=True)
    else:
        constraint = None
        if declared_key and declared_key != primary_key(existing):
            constraint = _primary_key_name(connection, schema, name)
        yield evolve.rekeyed(schema, model.name, constraint, old, new)


def _head(path: Path, text: str | None) -> tuple[str, tuple[str, ...]] | None:
    """The kind and the key that a model's text names; None if that is not known."""
    if text is None:
        return None
    try:
        written = headers.headers_in(path, text)
        return headers.kind(path, written), headers.columns(path, written, "key")
    except ModelError:
        return None


def _primary_key_name(connection: Connection, schema: str, name: str) -> str | None:
    query = (
        "SELECT r.conname::text FROM pg_constraint AS r INNER JOIN pg_class AS c ON r.conrelid = c.oid"
        " INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid"
        " WHERE r.contype = 'p' AND n.nspname = %s AND c.relname = %s"
    )
    return next(iter(texts(connection, query, (schema, name))), None)
