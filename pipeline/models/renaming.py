"""Whether a model differs from an earlier text of it only by the names of its columns."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.models.library import Model
from pipeline.models.syntax import walk

_Node = dict[str, Any]


def only_renames(old: Model, new: Model, renames: Mapping[str, str]) -> bool:
    """Whether ``new`` yields the same rows as ``old`` under new names; False where that is not certain.

    ``renames`` maps old names of columns to new ones.
    """
    before, after = json.loads(old.tree), json.loads(new.tree)
    if _options(old, renames) != _options(new, {}):
        return False
    if not renames:
        return bool(before == after)
    moved = [{*renames}, {*renames.values()}]
    if any(_is_named_inside(tree, names) for tree, names in zip((before, after), moved, strict=True)):
        return False
    return _name_all(before, renames) and _name_all(after, {}) and bool(before == after)


def _options(model: Model, renames: Mapping[str, str]) -> tuple[object, ...]:
    key, untracked = (
        tuple(renames.get(name, name) for name in names) for names in (model.key, model.untracked)
    )
    return key, untracked, model.kind, model.keeps_deleted, model.appends


def _columns(tree: _Node) -> list[_Node]:
    """The columns of the SELECT; none if it is not a plain one."""
    node = tree["statements"][0]["node"]
    return list(node["select_list"]) if node["type"] == "SELECT_NODE" else []


def _name_all(tree: _Node, renames: Mapping[str, str]) -> bool:
    """Write the new name of each column as its alias; False if there are no columns, or one has no name."""
    columns = _columns(tree)
    for column in columns:
        if column["class"] == "STAR":
            return False
        name = column["alias"] or (column["column_names"][-1] if column["class"] == "COLUMN_REF" else "")
        column["alias"] = renames.get(name, name)
    return bool(columns)


def _is_named_inside(tree: _Node, names: set[str]) -> bool:
    """Whether other parts of the SQL name one of these columns, which can mean the column of the SELECT."""
    own = {id(column) for column in _columns(tree) if column["class"] == "COLUMN_REF"}
    lowered = {name.lower() for name in names}
    return any(name.lower() in lowered for name in _references(tree, own))


def _references(tree: _Node, own: set[int]) -> Iterator[str]:
    for node in walk(tree):
        if node.get("class") == "COLUMN_REF" and id(node) not in own and len(node["column_names"]) == 1:
            yield node["column_names"][0]
