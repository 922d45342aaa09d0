"""Removes known secrets and control characters from all text that leaves the process.

Secrets of fewer than nine characters are removed only where they stand like a credential, those of fewer
than four never: they would be found in other words.

Code that reads a password or a key registers it with :func:`learn`. From then on :func:`redact` removes it
from any text, in every encoding that libpq, SQLAlchemy, boto, Arrow and Prefect use, and the records of all
loggers are cleaned when they are created.
"""

import html
import logging
import re
import traceback
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, SecretStr

HIDDEN = "***"
# A secret shorter than _LONG may be an ordinary word, so it is removed only where it is quoted or written
# like a credential. One shorter than _SHORTEST is never removed.
_LONG, _SHORTEST = 9, 4
_NAMES_OF_SECRETS = ("token", "password")
_secrets: set[str] = set()


def learn(*secrets: SecretStr | str | None) -> None:
    """Register secrets, so that no text shows them from now on."""
    for secret in secrets:
        text = secret.get_secret_value() if isinstance(secret, SecretStr) else secret
        if text and len(text) >= _SHORTEST:
            _secrets.add(text)


def learn_all(model: BaseModel) -> None:
    """Register every secret in a model, such as a Prefect block, at any depth.

    A field whose name ends in token or password counts as secret, because prefect-aws declares its session
    token as plain text.
    """
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, SecretStr) or (isinstance(value, str) and name.endswith(_NAMES_OF_SECRETS)):
            learn(value)
        elif isinstance(value, BaseModel):
            learn_all(value)


def redact(text: str) -> str:
    """The text without registered secrets."""
    pattern = _pattern(frozenset(_secrets))
    return pattern.sub(HIDDEN, text) if pattern else text


def printable(text: str, keep: str = "") -> str:
    """The text with unprintable characters, except those in ``keep``, as Python escapes."""
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() or sign in keep else sign.encode("unicode_escape").decode()
        for sign in text
    )


def safe(text: str, keep: str = "") -> str:
    """The text without secrets and without control characters, except those in ``keep``."""
    return printable(redact(text), keep)


def in_one_line(text: str) -> str:
    """The text on one line, without secrets and control characters."""
    return safe(" ".join(text.split()))


@lru_cache(maxsize=8)
def _pattern(secrets: frozenset[str]) -> re.Pattern[str] | None:
    # The longest first, because one secret may contain another.
    patterns = [_pattern_of(secret) for secret in sorted(secrets, key=len, reverse=True)]
    return re.compile("|".join(patterns)) if patterns else None


def _pattern_of(secret: str) -> str:
    """A pattern for all encodings of a secret."""
    pattern = "".join(f"(?:{'|'.join(_encodings(sign))})" for sign in secret)
    return pattern if len(secret) >= _LONG else rf"(?<=[:='\"]){pattern}(?=[@'\"&;,)\s]|$)"


@lru_cache(maxsize=256)
def _encodings(sign: str) -> tuple[str, ...]:
    """Patterns of a character: plain, percent-encoded, escaped as in Python, JSON, SQL and HTML."""
    percent = "".join(rf"%(?:25)*{byte:02X}" for byte in sign.encode("utf-8", "surrogateescape"))
    units = sign.encode("utf-16-be", "surrogatepass")
    as_json = "".join(rf"\\+u{units[place : place + 2].hex()}" for place in range(0, len(units), 2))
    as_python = re.escape(sign.encode("unicode_escape").decode()).replace(r"\\", r"\\+", 1)
    patterns = [
        re.escape(sign),
        f"(?i:{percent})",
        f"(?i:{as_json})",
        as_python,
        re.escape(html.escape(sign)),
    ]
    if sign == " ":
        patterns.append(r"\+")
    if sign in "'\"\\":
        patterns += [rf"\\*{re.escape(sign)}", re.escape(sign * 2)]
    return tuple(dict.fromkeys(patterns))


def redact_error(error: BaseException) -> None:
    """Remove secrets from the arguments of an exception and of its causes."""
    for each in _chain(error):
        cleaned = tuple(redact(value) if isinstance(value, str) else value for value in each.args)
        if cleaned != each.args:
            each.args = cleaned


def _chain(error: BaseException | None) -> Iterable[BaseException]:
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        error = error.__cause__ or error.__context__
    return seen


def _clean(record: logging.LogRecord) -> None:
    """Remove secrets and control characters from a record, except line breaks of its format."""
    if isinstance(record.args, tuple):
        record.args = tuple(map(_clean_argument, record.args))
    try:
        message = record.getMessage()
    except Exception:  # noqa: BLE001  logging itself reports wrong arguments
        return
    cleaned = safe(message, keep="\n\t")
    if cleaned != message:
        record.msg, record.args = cleaned, ()
    if isinstance(record.exc_info, tuple) and isinstance(record.exc_info[1], BaseException):
        redact_error(record.exc_info[1])
        text = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
        if safe(text, keep="\n\t") != text:
            record.exc_text = safe(text, keep="\n\t")


def _clean_argument(argument: object) -> object:
    if isinstance(argument, BaseException):
        redact_error(argument)
    return safe(argument) if isinstance(argument, str) else argument


_make_record = logging.getLogRecordFactory()


def _make_clean_record(*args: Any, **kwargs: Any) -> logging.LogRecord:  # noqa: ANN401  as logging declares it
    record = _make_record(*args, **kwargs)
    _clean(record)
    return record


logging.setLogRecordFactory(_make_clean_record)
