"""Secrets are removed from logs and exceptions."""

from __future__ import annotations

import json
import logging
import string
import uuid
from collections.abc import Callable
from html import escape
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg.conninfo import make_conninfo
from pydantic import BaseModel, SecretStr

from pipeline import messages, redaction
from pipeline.errors import PipelineError
from pipeline.redaction import HIDDEN, learn, learn_all, printable, redact

SIGNS = string.ascii_letters + string.digits + string.punctuation + " äß€😀\u00a0"
LONG = st.text(SIGNS, min_size=9, max_size=24).filter(lambda text: len(set(text)) > 3)
SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "percent-encoded": lambda text: quote(text, safe=""),
    "percent-encoded by SQLAlchemy": lambda text: quote(text, safe=" +"),
    "percent-encoded in small letters": lambda text: (
        quote(text, safe="").lower() if not any(sign.isupper() for sign in text) else quote(text, safe="")
    ),
    "percent-encoded as JavaScript does": lambda text: quote(text, safe="~!*'()"),
    "percent-encoded twice": lambda text: quote(quote(text, safe=""), safe=""),
    "as a form": quote_plus,
    "repr": lambda text: repr(text)[1:-1],
    "ascii": lambda text: ascii(text)[1:-1],
    "JSON": lambda text: json.dumps(text)[1:-1],
    "conninfo": lambda text: make_conninfo(password=text).removeprefix("password="),
    "SQL": lambda text: text.replace("'", "''"),
    "HTML": escape,
}


@pytest.fixture(autouse=True)
def _no_secrets_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register secrets for one test only."""
    monkeypatch.setattr(redaction, "_secrets", set())


@pytest.mark.parametrize("spelling", SPELLINGS)
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(LONG)
@example("two words")
@example("p@ssword1")
@example("'\"\\'\"\\abcd")
def test_a_secret_is_removed_in_every_encoding(spelling: str, secret: str) -> None:
    redaction._secrets.clear()
    learn(secret)
    spelt = SPELLINGS[spelling](secret)
    shown = redact(f"before {spelt} after {spelt}")
    assert spelt not in shown.replace(HIDDEN, "")
    assert shown.startswith("before ")
    assert HIDDEN in shown


def test_a_short_secret_is_removed_only_where_it_is_a_value() -> None:
    """Otherwise a password that is a word would garble every message."""
    learn("totesys", "abc")
    assert redact('flow totesys-etl failed, key: abc; password "totesys", u:totesys@h, password=totesys') == (
        f'flow totesys-etl failed, key: abc; password "{HIDDEN}", u:{HIDDEN}@h, password={HIDDEN}'
    )


def test_secrets_of_a_model_are_learnt_at_any_depth() -> None:
    class Inner(BaseModel):
        password: SecretStr | None

    class Outer(BaseModel):
        inner: Inner
        key: SecretStr
        session_token: str
        secret_name: str

    inner, outer = Inner(password=SecretStr("the-inner-one")), SecretStr("the-outer-one")
    learn_all(Outer(inner=inner, key=outer, session_token="the-plain-token", secret_name="prod/totesys"))
    shown = redact("the-inner-one the-outer-one the-plain-token prod/totesys")
    assert shown == f"{HIDDEN} {HIDDEN} {HIDDEN} prod/totesys"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ä€😀", "plain ä€😀"),
        ("\x1b[2JOK: all is well", "\\x1b[2JOK: all is well"),
        ("a\nERROR: b\r", "a\\nERROR: b\\r"),
        ("\x9b2J\x7f\u202e\u2028", "\\x9b2J\\x7f\\u202e\\u2028"),
        ("\udcff", "\\udcff"),
    ],
)
def test_control_characters_are_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


class Kept(logging.Handler):
    """Collects records and their formatted text."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.shown: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.shown.append(f"{self.format(record)} {record.args} {record.exc_info}")


@pytest.fixture
def log() -> logging.Logger:
    """A logger with one handler, as other libraries have it."""
    logger = logging.getLogger(f"some.library.{uuid.uuid4().hex}")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.addHandler(Kept())
    return logger


def shown(logger: logging.Logger) -> str:
    (handler,) = [handler for handler in logger.handlers if isinstance(handler, Kept)]
    return "\n".join(handler.shown)


def fail_twice(words: str) -> None:
    try:
        int(words)
    except ValueError as cause:
        raise RuntimeError(f"again {words}") from cause


def test_no_log_record_holds_a_secret(log: logging.Logger) -> None:
    """Neither in the message nor in arguments, the exception or its causes."""
    learn("hunter2-hunter2")
    log.info("plain hunter2-hunter2")
    log.info("%s and %r", "hunter2-hunter2", "hunter2-hunter2")
    log.info("%(a)s", {"a": "hunter2-hunter2"})
    log.info("%s", OSError("hunter2-hunter2"))
    log.info("%s", {"a": ["hunter2-hunter2"]})
    try:
        fail_twice("hunter2-hunter2")
    except RuntimeError:
        log.exception("failed")
    assert "hunter2" not in shown(log)
    assert shown(log).count("Traceback") == 2
    assert f"RuntimeError: again {HIDDEN}" in shown(log)


def test_a_value_adds_no_line_to_a_log_and_clears_no_screen(log: logging.Logger) -> None:
    log.info("table %s\nis empty", "sale\nOK: \x1b[2Jall is well")
    assert shown(log).startswith("table sale\\nOK: \\x1b[2Jall is well\nis empty")


def test_logging_continues_where_arguments_do_not_fit(
    log: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    log.handlers = [logging.StreamHandler()]
    log.info("%d", "x")
    assert "Logging error" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        ValueError("hunter2-hunter2\nOK"),
        OSError(13, "hunter2-hunter2\nOK", "/a/hunter2-hunter2"),
        UnicodeDecodeError("utf-8", b"x", 0, 1, "hunter2-hunter2\nOK"),
        PipelineError("hunter2-hunter2\nOK"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_that_leaves_keeps_its_kind_and_loses_its_secrets(error: Exception) -> None:
    learn("hunter2-hunter2")
    found = messages.cleaned(error)
    assert "hunter2" not in f"{found}{found!r}{found.args}"
    assert "\n" not in str(found)
    assert isinstance(found, (type(error), PipelineError))
    assert HIDDEN in str(found)


def test_a_validation_error_of_pydantic_is_replaced() -> None:
    class Model(BaseModel):
        number: int

    learn("hunter2-hunter2")
    with pytest.raises(ValueError, match="validation error") as caught:
        Model(number="hunter2-hunter2")
    found = messages.cleaned(caught.value)
    assert "hunter2" not in f"{found}{found!r}"
    assert isinstance(found, PipelineError)
