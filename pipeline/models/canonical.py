"""Rename the CTEs and table aliases of a syntax tree, so that models which differ only in them are the same.

A name is renamed everywhere or nowhere. It is left alone if it also stands for anything else than a CTE or
the alias of a table or subquery, because another name could then change what the model returns.
"""

from collections.abc import Collection, Iterator
from typing import Any

# A string in a tree: the object or list that holds it, and its key or index.
_Place = tuple[Any, Any]
# If a name of the model begins like this, nothing is renamed.
_NEW = "relation (pipeline) "


def with_canonical_names(tree: Any, relations: Collection[str]) -> Any:  # noqa: ANN401  JSON
    """Rename CTEs and aliases in a tree, which is changed in place, in the order in which they occur.

    ``relations`` are the names of what the model reads, which are never renamed.
    """
    places: dict[str, list[_Place]] = {}
    others = {name.casefold() for name in relations}
    for (holder, key), is_name in _strings(tree):
        name = holder[key].casefold()
        if is_name:
            places.setdefault(name, []).append((holder, key))
        else:
            others.add(name)
    if any(name.startswith(_NEW) for name in (*places, *others)):
        return tree
    for number, name in enumerate(name for name in places if name not in others):
        for holder, key in places[name]:
            holder[key] = f"{_NEW}{number}"
    return tree


def changed_meanings(tree: str) -> list[str]:
    """What a tree means in this release that it did not in earlier ones."""
    meanings = {
        '"function_name": "round"': "rounds decimals",
        '"function_name": "/"': "divides by numbers such as 100 exactly",
        '"function_name": "avg"': "casts decimals",
        '"function_name": "date_part"': "casts decimals",
        '"type_name": "DECIMAL"': "casts decimals",
        '"function_name": "substr': "counts from the beginning",
        '"subquery_type": "ANY"': "compares with a list that is NULL",
        '"null_order": "ORDER_DEFAULT", "type": "DESCENDING"': "NULL is first with DESC",
    }
    return [meaning for part, meaning in meanings.items() if part in tree]


def _strings(node: Any) -> Iterator[tuple[_Place, bool]]:  # noqa: ANN401  JSON
    """All strings of a tree, and whether each can only be the name of a CTE or an alias."""
    names = _names(node) if isinstance(node, dict) else ()
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        if isinstance(value, str):
            if value:
                yield (node, key), key in names
        elif key in names:  # a list, whose first string is the name
            yield from (((value, place), place == 0) for place in range(len(value)))
        elif isinstance(value, dict | list):
            yield from _strings(value)


def _names(node: dict[str, Any]) -> Collection[str]:
    """The keys of an object that hold names of CTEs and aliases."""
    match node.get("class"), node.get("type"):
        case "COLUMN_REF", _:
            return ("column_names",) if len(node["column_names"]) > 1 else ()
        case "STAR", _:
            return ("relation_name",)
        case None, "BASE_TABLE":
            # The path in qualified_name is the table's name again.
            qualified = node.pop("qualified_name")["path"]
            node["qualified_name"] = qualified
            return ("alias", "table_name", "qualified_name") if len(qualified) == 1 else ("alias",)
        case None, "SUBQUERY":
            return ("alias",)
        case None, "RECURSIVE_CTE_NODE":
            return ("cte_name",)
    value = node.get("value")
    return ("key",) if isinstance(value, dict) and "query_node" in value else ()
