"""One text for equal values of types that Postgres prints in several ways.

They are carried as text: an interval ('1 mon' and '30 days'), jsonb, and arrays and ranges of such values or
of numbers ('1.0' and '1.00').
"""

_PARTS = (r"([+-]?\d+) years?", r"([+-]?\d+) mons?", r"([+-]?\d+) days?")
_TIME = r"([+-]?)(\d+):(\d\d):(\d\d)(\.\d+)?"
_INTERVAL = "".join(f"({part} ?)?" for part in (*_PARTS, _TIME))
# A text in jsonb, or what is between two texts.
_JSON_PART = r'"(?:[^"\\]|\\.)*"|[^"]+'
# A bracket or comma of an array or range, or an element.
_ELEMENT = r'[][(){},]|"(?:[^"\\]|\\.)*"|[^][(){},"]+'
_OCTETS = r"(0|[1-9]\d{0,2})(\.(0|[1-9]\d{0,2})){3}"
_HEX = "[0-9a-f]{2}"
# The texts of which Postgres prints no two for equal values, or only those that have one identity.
PRINTED = {
    "numeric": r"-?(0\.\d*[1-9]\d*|[1-9]\d*(\.\d+)?)|0(\.0*)?|NaN|-?Infinity",
    "interval": _INTERVAL,
    "uuid": f"{_HEX * 4}(-{_HEX * 2}){{3}}-{_HEX * 6}",
    "bytea": rf"\\x({_HEX})*",
    "bit": "[01]*",
    "bit varying": "[01]*",
    "macaddr": f"{_HEX}(:{_HEX}){{5}}",
    "macaddr8": f"{_HEX}(:{_HEX}){{7}}",
    "inet": rf"{_OCTETS}(/(\d|[12]\d|3[01]))?",
    "cidr": rf"{_OCTETS}/(\d|[12]\d|3[012])",
    "oid": r"0|[1-9]\d*",
    "xid": r"0|[1-9]\d*",
    "xid8": r"0|[1-9]\d*",
}


def of_number(text: str) -> str:
    """A DuckDB expression for a number without trailing zeros."""
    trimmed = rf"regexp_replace({text}, '(\.\d*?)0+$', '\1')"
    return f"regexp_replace({trimmed}, '\\.$', '')"


def of_float(text: str) -> str:
    """A DuckDB expression for the text of a float without the sign of zero."""
    return f"CASE {text} WHEN '-0' THEN '0' ELSE {text} END"


def of_interval(text: str) -> str:
    """A DuckDB expression for the length of an interval, in microseconds; a text of another form stays."""
    years, months, days = (_whole(f"regexp_extract({text}, '{part}', 1)") for part in _PARTS)
    sign, hours, minutes, seconds, fraction = (
        f"regexp_extract({text}, '{_TIME}', {group})" for group in range(1, 6)
    )
    whole = f"({_whole(hours)} * 60 + {_whole(minutes)}) * 60 + {_whole(seconds)}"
    micros = f"rpad({fraction}[2:], 6, '0')"
    time = f"({whole}) * 1000000 + {_whole(micros)}"
    length = f"(({years} * 12 + {months}) * 30 + {days}) * 86400000000"
    length = f"{length} + CASE {sign} WHEN '-' THEN -1 ELSE 1 END * ({time})"
    return (
        f"CASE WHEN regexp_full_match({text}, '{_INTERVAL}') THEN CAST({length} AS VARCHAR) ELSE {text} END"
    )


def _whole(digits: str) -> str:
    return f"COALESCE(TRY_CAST({digits} AS HUGEINT), 0)"


def of_jsonb(text: str) -> str:
    """A DuckDB expression for a jsonb whose numbers have no trailing zeros."""
    trimmed = r"regexp_replace(part, '(\.\d*?)0+([^0-9]|$)', '\1\2', 'g')"
    whole = rf"regexp_replace({trimmed}, '\.([^0-9]|$)', '\1', 'g')"
    return _each_part(text, _JSON_PART, f"CASE WHEN starts_with(part, '\"') THEN part ELSE {whole} END")


def of_elements(text: str, element: str) -> str:
    """A DuckDB expression for an array or range; ``element`` is one for its element ``part``."""
    return _each_part(text, _ELEMENT, element)


def _each_part(text: str, pattern: str, expression: str) -> str:
    parts = f"list_transform(regexp_extract_all({text}, '{pattern}'), lambda part: {expression})"
    return f"CASE WHEN {text} IS NOT NULL THEN array_to_string({parts}, '') END"
