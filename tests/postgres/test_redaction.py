"""What leaves holds no secret, no value of a row and no control character."""

from __future__ import annotations

import json
import logging
import string
import uuid
from collections.abc import Callable
from html import escape
from urllib.parse import quote, quote_plus

import duckdb
import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg.conninfo import make_conninfo
from pydantic import BaseModel, SecretStr

from pipeline import messages, redaction
from pipeline.errors import PipelineError
from pipeline.redaction import HIDDEN, learn, learn_all, printable, redact
from tests.support import execute, query

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
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test makes known is known to it alone."""
    monkeypatch.setattr(redaction, "_secrets", set())


@pytest.mark.parametrize("spelling", SPELLINGS)
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(LONG)
@example("two words")
@example("p@ssword1")
@example("'\"\\'\"\\abcd")
def test_a_secret_is_found_however_it_is_spelt(spelling: str, secret: str) -> None:
    redaction._secrets.clear()
    learn(secret)
    spelt = SPELLINGS[spelling](secret)
    shown = redact(f"before {spelt} after {spelt}")
    assert spelt not in shown.replace(HIDDEN, "")
    assert shown.startswith("before ")
    assert HIDDEN in shown


def test_a_short_secret_is_taken_out_where_it_stands_as_one_only() -> None:
    """A password that is a word would else spoil every message."""
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
    """Keeps records and what they are shown as."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.shown: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.shown.append(f"{self.format(record)} {record.args} {record.exc_info}")


@pytest.fixture
def log() -> logging.Logger:
    """A logger with one handler, of a library that knows nothing of us."""
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
    """Neither in its message nor in its arguments, its exception or those that it came from."""
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


def test_logging_goes_on_where_arguments_do_not_fit(
    log: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    log.handlers = [logging.StreamHandler()]
    log.info("%d", "x")
    assert "Logging error" in capsys.readouterr().err


# What makes each fail, with a value that must not be shown, and what is said instead.
FAULTS = {
    "a number": (
        "SELECT 'Ann-Secret'::int",
        r"invalid text representation \(SQLSTATE 22P02\), type integer; TOTESYS_SHOW_VALUES=true shows",
    ),
    "a date": ("SELECT '2024-02-30'::date", r"datetime field overflow \(SQLSTATE 22008\)"),
    "a range": ("SELECT 987654::text::smallint", r"numeric value out of range.*, type smallint"),
    "a key": (
        "INSERT INTO people VALUES ('Ann-Secret', 1), ('Ann-Secret', 1)",
        r'duplicate key value violates unique constraint "people_pkey", key \(name, age\)',
    ),
    "a rule": ("INSERT INTO people VALUES ('Ann-Secret', 200)", r'violates check constraint "young"'),
    "a NULL": (
        "INSERT INTO people VALUES ('Ann-Secret', NULL)",
        r'null value in column "age" .*, column age$',
    ),
    "a trigger": (
        "DO $$ BEGIN RAISE EXCEPTION 'not Ann-Secret'; END $$",
        r"a trigger or function of the database refuses a row \(SQLSTATE P0001\)",
    ),
    "a trigger with a code of its own": (
        "DO $$ BEGIN RAISE EXCEPTION 'not Ann-Secret' USING ERRCODE = 'object_in_use'; END $$",
        r"a trigger or function of the database refuses a row \(SQLSTATE 55006\)",
    ),
    "a statement that a trigger runs": (
        "DO $$ BEGIN EXECUTE 'SELECT \"Ann-Secret\"'; END $$",
        r"a trigger or function of the database refuses a row \(SQLSTATE 42703\)",
    ),
    "no table": ("SELECT 'Ann-Secret' FROM nowhere", r'^relation "nowhere" does not exist$'),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_postgres_says_of_a_row_names_no_value(warehouse_url: str, fault: str) -> None:
    statement, said = FAULTS[fault]
    columns = "name text, age int CONSTRAINT young CHECK (age < 100), PRIMARY KEY (name, age)"
    execute(warehouse_url, f"CREATE TABLE people ({columns})")
    with pytest.raises(psycopg.Error) as caught:
        query(warehouse_url, statement)
    found = messages.message(caught.value)
    assert not [value for value in ("Secret", "2024-02-30", "987654", "(200") if value in found]
    with pytest.raises(psycopg.Error, match=said):
        raise messages.cleaned(caught.value)


def test_of_copy_the_column_is_named(warehouse_url: str) -> None:
    execute(warehouse_url, "CREATE TABLE people (name text, age int)")
    with (
        psycopg.connect(warehouse_url) as connection,
        pytest.raises(psycopg.DataError) as caught,
        connection.cursor().copy("COPY people FROM STDIN (FORMAT csv)") as copy,
    ):
        copy.write("Ann,Secret: 12\n")
    assert messages.message(caught.value).startswith(
        "invalid text representation (SQLSTATE 22P02), column age, type integer; "
    )


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        (
            "CAST(x AS INTEGER) FROM (VALUES ('it''s Secret')) t(x)",
            "Conversion Error: a value of x does not fit INT32; ",
        ),
        (
            "CAST(x AS DATE) FROM (VALUES ('2024-02-30')) t(x)",
            "Conversion Error: a value of x does not fit date; ",
        ),
        ("strptime(x, '%Y') FROM (VALUES ('Secret')) t(x)", "Invalid Input Error: a value does not fit; "),
        (
            "regexp_matches('a', x) FROM (VALUES ('(Secret')) t(x)",
            "Invalid Input Error: a value does not fit; ",
        ),
        ("x * x FROM (VALUES (987654::INTEGER)) t(x)", "Out of Range Error: a value does not fit INT32; "),
        (
            "(SELECT x FROM (VALUES (1), (2)) t(x))",
            "Invalid Input Error: More than one row returned by a subquery",
        ),
        ("lable FROM (VALUES (1)) t(label)", 'Binder Error: Referenced column "lable" not found'),
    ],
)
def test_what_duckdb_says_of_a_row_names_no_value(expression: str, said: str) -> None:
    with pytest.raises(duckdb.Error) as caught:
        duckdb.connect().execute(f"SELECT {expression}").fetchall()
    found = messages.message(caught.value)
    assert found.startswith(said)
    assert not [value for value in ("Secret", "2024-02-30", "987654") if value in found]


def test_what_arrow_says_of_a_value_does_not_name_it() -> None:
    with pytest.raises(pa.ArrowInvalid) as caught:
        pa.array(["Secret"]).cast(pa.int32())
    assert messages.message(caught.value).startswith("a value does not fit int32; ")


def test_one_setting_shows_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOTESYS_SHOW_VALUES", "true")
    messages.shows_values.cache_clear()
    try:
        with pytest.raises(pa.ArrowInvalid) as caught:
            pa.array(["Ann"]).cast(pa.int32())
        assert "'Ann'" in messages.message(caught.value)
    finally:
        messages.shows_values.cache_clear()


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
