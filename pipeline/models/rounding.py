"""Let round(x, digits) round floating point as Postgres rounds numeric, such as an average or a quotient.

DuckDB divides numbers in floating point, where 1.005 is a little less, so that round(1.005, 2) is 1.00. Of 15
digits nothing is lost, so the number is rounded as the decimal that these digits are.
"""

from __future__ import annotations  # evaluated annotations keep DuckDB alive: see duck._database

import duckdb

from pipeline.duck import quote
from pipeline.models.analysis import plan_of
from pipeline.models.exact import type_of
from pipeline.models.text_origins import name_of
from pipeline.models.unstable import walk

_NAME = "round"
_ROUND = "round (pipeline)"
# Larger numbers have no decimals among their 15 digits.
MACRO = f"""
    CREATE OR REPLACE TEMP MACRO {quote(_ROUND)}(value, digits) AS CASE
        WHEN abs(value) < 1e15
            THEN CAST(round(CAST(format('{{:.15g}}', value) AS DECIMAL(38, 15)), digits) AS DOUBLE)
        ELSE round(value, digits)
    END
"""


def rounds(sql: str) -> bool:
    """Whether a query may call round()."""
    return _NAME in sql.lower()


def with_decimal_rounding(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """The query, whose relations are bound, with other calls where it rounds floating point to digits."""
    if not rounds(sql):
        return sql
    text = sql.encode()
    places = set()
    for node in walk(plan_of(connection, sql)):
        if node.get("expression_class") != "BOUND_FUNCTION" or name_of(node) != _NAME:
            continue
        value, *digits = node["children"]
        place = node["query_location"]
        is_written = text[place : place + len(_NAME)].lower() == _NAME.encode()
        is_constant = [each.get("expression_class") for each in digits] == ["BOUND_CONSTANT"]
        if type_of(value).get("id") in {"FLOAT", "DOUBLE"} and is_constant and is_written:
            places.add(place)
    for place in sorted(places, reverse=True):
        text = text[:place] + quote(_ROUND).encode() + text[place + len(_NAME) :]
    return text.decode()
