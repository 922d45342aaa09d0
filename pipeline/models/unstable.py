"""Find expressions that may yield different values for the same data, and say what to write instead.

They are searched in the plan, in which macros, views and subqueries are resolved, and in the SQL, because the
planner replaces nested functions of the current time by constants. Whatever is not known to be stable counts
as unstable.
"""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

import re
from collections.abc import Iterator
from functools import cache

from pipeline.duck import session
from pipeline.models.syntax import Node, called, walk

# Aggregates and windows whose result depends on the order of rows; see pipeline.models.ties.
ORDERED = frozenset(
    "any_value arbitrary array_agg first group_concat last list listagg string_agg"  # noqa: SIM905
    " WINDOW_FIRST_VALUE WINDOW_LAG WINDOW_LAST_VALUE WINDOW_LEAD WINDOW_NTH_VALUE WINDOW_NTILE"
    " WINDOW_ROW_NUMBER".split()
)
# Aggregates that take any of the tied rows.
TYING = frozenset(
    "arg_max arg_max_null arg_max_nulls_last arg_min arg_min_null arg_min_nulls_last argmax argmin"  # noqa: SIM905
    " max_by min_by".split()
)
# Sums of floating-point numbers, whose rounding depends on the order of rows.
SUMS = frozenset({"avg", "mean", "sum"})
STABLE = frozenset(
    "approx_count_distinct bit_and bit_or bit_xor bitstring_agg bool_and bool_or count count_if countif"  # noqa: SIM905
    " count_star decimal_average histogram histogram_exact mad max median min quantile quantile_cont"
    " quantile_disc regr_count sum_no_overflow WINDOW_CUME_DIST WINDOW_PERCENT_RANK WINDOW_RANK"
    " WINDOW_RANK_DENSE".split()
)
_FLOATS = frozenset({"FLOAT", "DOUBLE"})
# Volatile in DuckDB's catalogue, but stable.
_HARMLESS = frozenset({"error"})
# Stable in the catalogue, but volatile; `age` only with one argument.
_CHANGING = frozenset({"current_localtime", "current_localtimestamp", "age"})
# Collations under which texts are equal that are spelled in several ways; they also mark columns in analyses.
_SPELLINGS = frozenset({"noaccent", "nfc"})
# Functions of the current time that are written without parentheses.
_MOMENTS = frozenset({"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"})


def in_plan(plan: Node) -> Iterator[str]:
    """A message for each unstable expression of a plan, other than ties."""
    of_subqueries = set(made_for_subqueries(plan))
    for node in walk(plan):
        if id(node) in of_subqueries:
            continue
        kind = node.get("expression_class")
        if kind == "BOUND_FUNCTION" and _changes(called(node), len(node["children"])):
            yield _moment(f"{called(node)}()")
        elif kind == "BOUND_AGGREGATE" or "WINDOW" in str(kind):
            yield from _unstable_aggregate(node)
        elif node.get("type") == "LOGICAL_SAMPLE":
            yield "TABLESAMPLE takes random rows"
        elif node.get("type") == "LOGICAL_RECURSIVE_CTE" and node.get("key_targets"):
            yield "USING KEY keeps any of the rows of a key; leave it out"
        elif node.get("type") == "LOGICAL_POSITIONAL_JOIN":
            yield "POSITIONAL JOIN depends on the order of rows; join on a key"


def in_text(tree: object) -> Iterator[str]:
    """A message for each expression of a SELECT's syntax tree that changes with time, chance or order."""
    for node in walk(tree):
        if node.get("class") == "FUNCTION":
            name = node["function_name"]
            if _changes(name.lower(), len(node["arguments"])):
                yield _moment(f"{name}()")
        elif node.get("class") == "COLLATE" and _SPELLINGS.intersection(node["collation"].lower().split(".")):
            yield f"COLLATE {node['collation']} takes several spellings as one; call strip_accents() instead"
        elif node.get("class") == "COLUMN_REF" and _is_moment(node["column_names"]):
            yield _moment(node["column_names"][0])


def _is_moment(names: list[str]) -> bool:
    return len(names) == 1 and names[0].lower() in _MOMENTS


def _moment(what: str) -> str:
    return f"{what} yields another value each time; for the batch's moment join reference.batch (moment)"


def made_for_subqueries(plan: Node) -> Iterator[int]:
    """The ids of nodes that the planner adds for EXISTS and for scalar subqueries.

    For EXISTS it counts the first row, and for a scalar subquery it fails if there is more than one row.
    """
    for node in walk(plan):
        for below in node.get("children", []) if node.get("type") == "LOGICAL_PROJECTION" else []:
            if below["type"] != "LOGICAL_AGGREGATE_AND_GROUP_BY" or below.get("groups"):
                continue
            calls = [called(expression) for expression in below["expressions"]]
            if calls == ["count_star"]:
                yield id(below["children"][0])
            elif calls == ["first", "count_star"] and "More than one row" in str(node["expressions"]):
                yield id(below["expressions"][0])


def _unstable_aggregate(node: Node) -> Iterator[str]:
    name = called(node)
    shown = name.removeprefix("WINDOW_").lower()
    types = [argument["id"] for argument in node.get("arguments") or []]
    if name in SUMS:
        if _FLOATS.intersection(types):
            yield f"{shown}() over floating point depends on the order of rows; cast its argument to DECIMAL"
    elif name not in STABLE | ORDERED | TYING:
        yield (
            f"{shown}() may depend on the order of rows, as it is approximate, computes in floating point or"
            " takes any of several; compute it from sum(), count() or quantile_disc() over DECIMAL"
        )


def _changes(name: str, arguments: int) -> bool:
    """Whether a function may yield another value for the same arguments."""
    return name in _changing() and not (name == "age" and arguments > 1)


@cache
def _changing() -> frozenset[str]:
    """Functions that depend on more than their arguments, and macros that call them."""
    with session() as connection:
        rows = connection.execute(
            "SELECT DISTINCT function_name FROM duckdb_functions()"
            " WHERE function_type = 'scalar' AND stability <> 'CONSISTENT'"
        ).fetchall()
        macros = connection.execute(
            "SELECT function_name, macro_definition FROM duckdb_functions()"
            " WHERE macro_definition IS NOT NULL"
        ).fetchall()
    names = (_CHANGING | {name for (name,) in rows}) - _HARMLESS
    words = {name: set(re.findall(r"\w+", definition)) for name, definition in macros}
    while more := {name for name in words.keys() - names if words[name] & ((names | _MOMENTS) - {"age"})}:
        names |= more
    return names
