"""Find comparisons in a model that DuckDB evaluates differently from Postgres, so that the model is refused.

An enum is an enum of DuckDB, which keeps the order of its labels, and citext has DuckDB's collation without
case. Some types are stored as text that compares differently from their values, such as interval ('1 mon' and
'30 days'), and numeric without precision where pipeline.models.computing does not cast it. Their columns get
a marker collation while a model is analysed: DuckDB's planner then calls that collation's function wherever
it compares, orders or groups by the column. These calls are found.
"""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from pipeline.columns import Column, comparable, duckdb_type, is_date_as_text, spelled_for_duckdb
from pipeline.duck import literal, quote
from pipeline.models.syntax import Node
from pipeline.models.text_origins import (
    Origin,
    Origins,
    holds_mark,
    is_json,
    is_made_by_planner,
    made_for_laterals,
)
from pipeline.models.value_flow import name_of

# Marker collations of columns that compare only for equality, and of columns that do not compare.
_MARKS = {"for equality": "NOACCENT", "no": "NFC"}
_CALLS: Mapping[str, Literal["order", "text", "case"]] = {
    "strip_accents": "order",
    "nfc_normalize": "text",
    "lower": "case",
}
_EQUALITY = frozenset(
    "COMPARE_EQUAL COMPARE_NOTEQUAL COMPARE_DISTINCT_FROM COMPARE_NOT_DISTINCT_FROM COMPARE_IN"  # noqa: SIM905
    " COMPARE_NOT_IN".split()
)
_GROUPS = frozenset({"groups", "distinct_targets", "partitions"})
# Stands for the columns in a comparison of rows, such as (a, b) = (c, d).
ROWS = "rows as a whole"
_ONE_BY_ONE = "compare their columns one by one, as a NULL in a row would count as a value"
_CAST = 'cast it in the model, or add COLLATE "C" to compare its text'
_EXTREMES = frozenset({"greatest", "least"})
_QUANTILES = frozenset({"median", "quantile", "quantile_cont", "quantile_disc"})
_OF_ALL_ROWS = frozenset({"max", "min"})
_RECORDS = frozenset({"row", "struct_pack"})
# Functions that make lists and records or take them apart; others compare what is in them.
_OF_PARTS = _RECORDS | frozenset(
    "array_extract array_length cardinality element_at flatten len length list_concat list_element"  # noqa: SIM905
    " list_extract list_pack list_slice list_value map_extract map_values struct_extract struct_extract_at"
    " __cast array_slice array_value unnest json_transform from_json list_transform list_filter apply".split()
)
_COUNTING = frozenset({"mode", "histogram", "approx_count_distinct"})
_SETS = frozenset({"LOGICAL_EXCEPT", "LOGICAL_INTERSECT"})
# Operations for which the planner calls no function of these collations.
_UNCALLED = {"order": ("nfc", "noaccent"), "equality": ("nfc",), "sets": ("nfc", "nocase")}
# The planner turns max() and min() of a text with a collation into these.
_OF_EXTREMES = frozenset({"arg_max", "arg_min"})


def model_type(column: Column, *, marked: bool = False) -> str:
    """The DuckDB type of a column in models; ``marked`` for the analysis.

    A smallint is an integer: its product with an integer is one in Postgres, and a smallint in DuckDB.
    """
    if column.type == "smallint":
        return "INTEGER"
    if column.labels:
        return f"ENUM({', '.join(map(literal, column.labels))})"
    if column.equality == "case-insensitive" and comparable(column) == "as Postgres":
        return "VARCHAR COLLATE NOCASE"
    mark = _MARKS.get(comparable(column)) if marked else None
    return f"{duckdb_type(column.type)} COLLATE {mark}" if mark else duckdb_type(column.type)


def is_special(column: Column) -> bool:
    """Whether the column compares differently from the DuckDB type that it is stored in."""
    return " COLLATE " in model_type(column, marked=True)


def as_model_type(column: Column, value: str, *, marked: bool = False) -> str:
    """An expression that gives a stored value the type that models read."""
    type_ = model_type(column, marked=marked)
    if column.labels or column.type == "smallint":
        return f"CAST({value} AS {type_})"
    if is_date_as_text(column):
        value = spelled_for_duckdb(value)  # so that models can cast it
    _, collates, collation = type_.partition(" COLLATE ")
    return f"{value} COLLATE {collation}" if collates else value


def as_stored(name: str, type_: str) -> str:
    """A column of a query as it is stored: without enum and collation. ``type_`` is as DESCRIBE prints it."""
    if type_.startswith("ENUM("):
        text = "VARCHAR[]" if type_.endswith("[]") else "VARCHAR"
        return f"CAST({quote(name)} AS {text}) AS {quote(name)}"
    return f'{quote(name)} COLLATE "C" AS {quote(name)}' if type_ == "VARCHAR" else quote(name)


@dataclass(frozen=True)
class _Place:
    """The position of a node in a plan.

    ``owner`` is the expression or operator that it belongs to, ``holder`` the node directly above it, and
    ``part`` the holder's field. ``in_set``: the owner is a side of EXCEPT, INTERSECT or a recursive UNION.
    """

    owner: Node
    holder: Node
    part: str
    in_set: bool = False

    @property
    def kind(self) -> str:
        """The type of the owner, or the comparison of a join's condition."""
        return str(self.holder.get("comparison") or self.owner.get("type"))

    @property
    def decides_equality(self) -> bool:
        """Whether values are compared only for equality."""
        return (
            self.kind in _EQUALITY
            or self.part in _GROUPS
            or (self.owner.get("aggregate_type") == "DISTINCT" and name_of(self.owner) == "count")
        )

    @property
    def compares(self) -> bool:
        """Whether values are compared, ordered or grouped, in any way."""
        return (
            self.kind.startswith("COMPARE_")
            or self.part in _GROUPS
            or "null_order" in self.holder
            or name_of(self.owner) in _OF_ALL_ROWS
            or bool(_compares_uncalled(self))
        )

    @property
    def compares_rows(self) -> bool:
        """Whether a row with a NULL in it is compared differently from Postgres."""
        is_comparison = self.kind.startswith("COMPARE_") and not self.kind.endswith("DISTINCT_FROM")
        return is_comparison or self.kind in {"OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL"}

    @property
    def keeps_a_spelling(self) -> bool:
        """Whether one of several equal values stands for all of them."""
        return self.part in {"groups", "distinct_targets"} or name_of(self.owner) in _OF_EXTREMES


def misread(plan: Node) -> Iterator[tuple[str, str]]:
    """Columns that a plan compares differently from Postgres: the name, if there is one, and the remedy."""
    origins, made = Origins(plan), frozenset(made_for_laterals(plan))
    for node, place in _placed(plan, _Place({}, {}, "")):
        if id(node) in made:
            continue
        if _is_row(node) and place.compares_rows:
            yield ROWS, _ONE_BY_ONE
        elif (is_json(node.get("return_type")) and place.compares) or _compares_stored(node, place, origins):
            yield column_of(node), _CAST
        elif place.owner.get("type") == "BOUND_FUNCTION" and name_of(place.owner) not in _RECORDS:
            continue  # LIKE and similar functions work on text
        elif mark := _CALLS.get(name_of(node)) if is_made_by_planner(node) else None:
            yield from _misread_call(mark, node["children"][0], place, origins)


def _compares_stored(node: Node, place: _Place, origins: Origins) -> bool:
    """Whether stored texts are compared without a call of their collation's function."""
    if "expression_class" not in node or origins.of(node) not in {"stored", "mixed"}:
        return False
    if holds_mark(node.get("return_type")):
        in_function = place.kind == "BOUND_FUNCTION" and name_of(place.owner) not in _OF_PARTS
        return place.compares or in_function
    is_call = node.get("expression_class") == "BOUND_FUNCTION" and is_made_by_planner(node)
    return not is_call and _collation(node) in _UNCALLED.get(_compares_uncalled(place), ())


def _compares_uncalled(place: _Place) -> str:
    """The operation that compares values without calling their collation's function, or an empty text."""
    kind, name = place.kind, name_of(place.owner)
    if (kind == "BOUND_FUNCTION" and name in _EXTREMES) or name in _QUANTILES:
        return "order"
    if kind == "BOUND_AGGREGATE" and (name in _COUNTING or place.owner["aggregate_type"] == "DISTINCT"):
        return "equality"
    return "sets" if kind == "LOGICAL_PROJECTION" and place.part == "expressions" and place.in_set else ""


def _misread_call(mark: str, argument: Node, place: _Place, origins: Origins) -> Iterator[tuple[str, str]]:
    """The column and the remedy of one call of a collation's function, if it is a misread comparison."""
    origin = origins.of(argument)
    stored = _collation(argument) in {"nfc", "noaccent"} and origin in {"stored", "mixed"}
    if mark == "case":
        yield from _misread_case(argument, place, origin)
    elif stored and (mark == "text" or not place.decides_equality):
        yield column_of(argument), _CAST


def _misread_case(argument: Node, place: _Place, origin: Origin) -> Iterator[tuple[str, str]]:
    """Text without case that Postgres compares with case, or of which any spelling may be kept."""
    name = column_of(argument)
    if origin in {"without case", "constant"}:
        return
    if origin != "stored" or _collation(argument) != "nocase":
        yield name, "Postgres is case-sensitive here; compare lower() of both sides"
    elif place.keeps_a_spelling:
        yield name, "any of its spellings may be returned; write lower() around it"


def spells_alike(aggregate: Node) -> bool:
    """Whether the planner has made this aggregate, whose tied values have the same spelling.

    It adds first(), and makes arg_max() of max(), for a text with a collation; ``misread`` finds those that
    keep any spelling.
    """
    argument = aggregate["children"][0] if aggregate.get("children") else {}
    return is_made_by_planner(aggregate) and _collation(argument) in {"noaccent", "nfc", "nocase"}


def _placed(node: object, place: _Place) -> Iterator[tuple[Node, _Place]]:
    """All nodes with their positions."""
    if isinstance(node, list):
        for child in node:
            yield from _placed(child, place)
    if isinstance(node, dict):
        yield node, place
        owns = "expression_class" in node or str(node.get("type", "")).startswith("LOGICAL")
        in_set = _drops_equal_rows(place.owner) if owns else place.in_set
        for part, child in node.items():
            yield from _placed(child, _Place(node if owns else place.owner, node, part, in_set))


def _drops_equal_rows(operator: Node) -> bool:
    """Whether an operator compares the rows of its sides as a whole, calling no function of a collation."""
    kind = operator.get("type")
    return kind in _SETS or (kind == "LOGICAL_RECURSIVE_CTE" and not operator["union_all"])


def _collation(node: Node) -> str:
    return str(_type_info(node).get("collation", "")).lower()


def _is_row(node: Node) -> bool:
    return (node.get("return_type") or {}).get("id") == "TUPLE"


def _type_info(node: Node) -> Node:
    return (node.get("return_type") or {}).get("type_info") or {}


def column_of(node: Node) -> str:
    """The name of the column in an expression."""
    if node.get("alias"):
        return str(node["alias"])
    operands = [*node.get("children", []), node.get("else_expr") or {}]
    return next(filter(None, map(column_of, operands)), "") if any(operands) else ""
