"""Settings: errors name unknown and malformed ones, and show no secret."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import duckdb
import prefect.settings
import pytest

from demo.home import PROJECT
from pipeline import settings
from pipeline.errors import SettingsError
from pipeline.settings import Settings

URL = "postgresql://me:S3cret-word@example.com:5432/totesys"


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Start without settings, in a folder without .env, and remove settings read from one afterwards."""
    with patch.dict(os.environ):
        for name in list(os.environ):
            if name.startswith(("TOTESYS_", "AWS_")):
                del os.environ[name]
        monkeypatch.chdir(tmp_path)
        yield


def test_defaults() -> None:
    found = settings.load()
    assert (found.source_schema, found.warehouse_schema, found.transforms) == (
        "public",
        "public",
        Path("transforms"),
    )
    assert (found.source_url, found.raw_uri, found.aws_region) == (None, None, None)


def test_readers_wait_three_seconds_for_a_table_and_runs_five_or_thirty_minutes_for_a_lock() -> None:
    found = settings.load()
    waits = (found.table_lock_timeout, found.lock_timeout, found.run_lock_timeout)
    assert waits == (3, 5 * 60, 30 * 60)


def test_the_page_has_every_setting_with_its_default() -> None:
    page = (PROJECT / "docs" / "settings.md").read_text(encoding="utf-8")
    documented = dict(re.findall(r"^\| `TOTESYS_(\w+)` \| (?:`([^`]*)`)? *\|", page, re.MULTILINE))
    defaults = {
        name.upper(): "" if field.default is None else str(field.default)
        for name, field in Settings.model_fields.items()
        if not name.startswith("aws_")
    }
    assert documented == defaults | {"SHOW_VALUES": "false"}


def test_the_environment_overrides_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text(
        f"TOTESYS_SOURCE_URL={URL}\nTOTESYS_RAW_URI=s3://file/raw\nAWS_REGION=eu-west-2\nOTHER=1\n"
    )
    monkeypatch.setenv("TOTESYS_RAW_URI", "s3://environment/raw")
    monkeypatch.setenv("TOTESYS_PROCESSED_URI", "")
    found = settings.load()
    assert found.source_url is not None
    assert found.source_url.get_secret_value() == URL
    assert (found.raw_uri, found.processed_uri, found.aws_region) == (
        "s3://environment/raw",
        None,
        "eu-west-2",
    )
    assert "S3cret" not in repr(found)


@pytest.mark.parametrize("where", ["the environment", ".env"])
def test_a_setting_that_is_none_is_named_with_its_neighbour(
    monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    if where == ".env":
        Path(".env").write_text("TOTESYS_SORCE_URL=x\n")
    else:
        monkeypatch.setenv("TOTESYS_SORCE_URL", "x")
    with pytest.raises(
        SettingsError, match=f"TOTESYS_SORCE_URL in {where} is not a setting; did you mean TOTESYS_SOURCE_URL"
    ):
        settings.load()


def test_an_unknown_setting_is_answered_with_all_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOTESYS_QQQQQQQQQQ", "x")
    with pytest.raises(SettingsError, match=r"the settings are .*TOTESYS_RAW_URI.*TOTESYS_TRANSFORMS"):
        settings.load()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (
            "mysql://me:S3cret-word@h/db",
            "scheme: mysql:// is not a PostgreSQL database; the form is postgresql://",
        ),
        ("postgresql://me:S3cret-word@h", "database: it is missing; the form is postgresql://"),
        ("postgresql://me:S3cret-word@h:port/db", "port: it is not a number from 1 to 65535"),
        ("postgresql://me:S3cret-word@h:99999/db", "port: it is not a number from 1 to 65535"),
        ("postgresql://me:a@S3cret-word@h/db", "password: it contains a raw @; write it as %40"),
        ("postgresql://me@h/db?sslpassword=S3cret-word", "option sslpassword: a block would show it"),
        ("S3cret word", "is neither of the form postgresql://.* nor a secret's name"),
    ],
)
@pytest.mark.parametrize("name", ["TOTESYS_SOURCE_URL", "TOTESYS_WAREHOUSE_URL"])
def test_a_malformed_url_is_refused_by_part_and_reason_and_without_the_password(
    monkeypatch: pytest.MonkeyPatch, name: str, url: str, message: str
) -> None:
    monkeypatch.setenv(name, url)
    with pytest.raises(SettingsError, match=rf"^{name}: {message}") as caught:
        settings.load()
    assert "S3cret" not in str(caught.value)


@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_the_file_is_read_literally(monkeypatch: pytest.MonkeyPatch, quote: str) -> None:
    """No ${x} is expanded, whatever quotes a value has, even if the environment has that name."""
    monkeypatch.setenv("x", "filled-in")
    url = "postgresql://me:a${x}$x%24{HOME}@h/db"
    Path(".env").write_text(
        f"TOTESYS_SOURCE_URL={quote}{url}{quote}\nAWS_SECRET_ACCESS_KEY={quote}k${{x}}{quote}\n"
    )
    found = settings.load()
    assert found.source_url
    assert found.source_url.get_secret_value() == url
    assert found.aws_secret_access_key
    assert found.aws_secret_access_key.get_secret_value() == "k${x}"


def test_white_space_around_a_url_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOTESYS_SOURCE_URL", f"  {URL}\n")
    found = settings.load().source_url
    assert found
    assert found.get_secret_value() == URL


@pytest.mark.parametrize(
    "uri", ["s3://", "s3:/bucket", "gs://b/raw", "http://b/raw", "s3://b /raw", "s3://b/raw ", "s3:///raw"]
)
def test_a_bucket_is_s3_or_a_folder(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("TOTESYS_RAW_URI", uri)
    with pytest.raises(SettingsError, match=r"TOTESYS_RAW_URI: is neither s3://bucket/prefix nor a folder"):
        settings.load()


@pytest.mark.parametrize(
    ("uri", "spelled"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ("s3://bucket//a b/ünï/", "s3://bucket/a b/ünï"),
        ("s3://bucket/a//b", "s3://bucket/a/b"),
        ("s3://bucket/%20/a+b?c#d", "s3://bucket/%20/a+b?c#d"),
    ],
)
def test_a_bucket_has_one_spelling(monkeypatch: pytest.MonkeyPatch, uri: str, spelled: str) -> None:
    monkeypatch.setenv("TOTESYS_RAW_URI", uri)
    assert settings.load().raw_uri == spelled


@pytest.mark.parametrize(
    "uri", ["s3://bucket/a/../b", "s3://bucket/./a", "s3://bucket/a\nb", "s3://bucket/.."]
)
def test_a_prefix_that_clients_read_differently_is_refused(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("TOTESYS_PROCESSED_URI", uri)
    with pytest.raises(SettingsError, match=r"^TOTESYS_PROCESSED_URI: has '\.', '\.\.' or an unprintable"):
        settings.load()


def test_aws_variables_of_the_file_count_for_boto3_but_keys_stay_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path(".env").write_text(
        "AWS_CA_BUNDLE=/ca.pem\nAWS_REGION=eu-west-2\nAWS_MAX_ATTEMPTS=5\nAWS_PROFILE=\n"
        "AWS_ACCESS_KEY_ID=key\nAWS_SECRET_ACCESS_KEY=secret\nOTHER=1\n"
    )
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "7")
    assert settings.load().aws_access_key_id == "key"
    found = {name: value for name, value in os.environ.items() if name.startswith(("AWS_", "OTHER"))}
    assert found == {
        "AWS_CA_BUNDLE": "/ca.pem",
        "AWS_REGION": "eu-west-2",
        "AWS_DEFAULT_REGION": "eu-west-2",
        "AWS_MAX_ATTEMPTS": "7",
    }


@pytest.mark.parametrize(
    "name", ["totesys/source", "arn:aws:secretsmanager:eu-west-2:123456789012:secret:prod/totesys-AbCdEf"]
)
def test_a_secrets_name_may_stand_for_a_url(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("TOTESYS_SOURCE_URL", name)
    url = settings.load().source_url
    assert url
    assert settings.is_secret_name(url.get_secret_value())


def test_all_errors_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("TOTESYS_QQQQQQQQQQ=x\n")
    monkeypatch.setenv("TOTESYS_SOURCE_URL", "S3cret word")
    monkeypatch.setenv("TOTESYS_RAW_URI", "gs://bucket/raw")
    with pytest.raises(SettingsError) as caught:
        settings.load()
    assert [
        name
        for name in ("TOTESYS_QQQQQQQQQQ in .env", "TOTESYS_SOURCE_URL: is", "TOTESYS_RAW_URI: is")
        if name not in str(caught.value)
    ] == []
    assert "S3cret" not in str(caught.value)


# The example

EXAMPLE = (PROJECT / ".env.example").read_text(encoding="utf-8")
SET = re.compile(r"^#?([A-Z][A-Z0-9_]*)=", re.MULTILINE)


def test_the_example_has_every_setting_once() -> None:
    fields = {
        str(field.validation_alias or settings.PREFIX + name.upper())
        for name, field in Settings.model_fields.items()
    }
    shown = [name for name in SET.findall(EXAMPLE) if not name.startswith("PREFECT_")]
    assert sorted(shown) == sorted(fields)


@pytest.mark.parametrize("all_of_it", [False, True])
def test_the_example_can_be_loaded(*, all_of_it: bool) -> None:
    text = SET.sub(r"\1=", EXAMPLE) if all_of_it else EXAMPLE
    Path(".env").write_text(text, encoding="utf-8")
    found = settings.load()
    assert found.raw_uri == "s3://my-raw-bucket/totesys"
    assert (found.environment, found.aws_region) == (("prod", "eu-west-2") if all_of_it else ("", None))


def test_prefect_knows_what_the_example_sets_for_it() -> None:
    names = [name for name in SET.findall(EXAMPLE) if name.startswith("PREFECT_")]
    assert names
    assert [name for name in names if not hasattr(prefect.settings, name)] == []


@pytest.mark.parametrize(
    ("text", "bytes_"), [("100MB", 100_000_000), ("1.5 GiB", 3 * 2**29), ("25%", None), ("", None)]
)
def test_duckdbs_memory_is_a_setting(monkeypatch: pytest.MonkeyPatch, text: str, bytes_: int | None) -> None:
    """A percentage refers to the memory of the machine or container."""
    monkeypatch.setenv("TOTESYS_DUCKDB_MEMORY", text)
    code = (
        "from pipeline.duck import session\n"
        "with session() as c: print(*c.execute(\"SELECT current_setting('memory_limit')\").fetchone())"
    )
    root = Path(settings.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    if bytes_ is None:
        share = float((text or "50%").rstrip("%")) / 100
        bytes_ = int(share * duckdbs_machine())
    assert in_bytes(done.stdout) == pytest.approx(bytes_, rel=0.06)


def duckdbs_machine() -> float:
    """The memory that DuckDB detects; its default limit is 80% of it."""
    ((limit,),) = duckdb.connect().execute("SELECT current_setting('memory_limit')").fetchall()
    return in_bytes(limit) / 0.8


def in_bytes(shown: str) -> float:
    number, unit = shown.split()
    return float(number) * 1024.0 ** ["bytes", "KiB", "MiB", "GiB", "TiB"].index(unit)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        *(("DUCKDB_MEMORY", text, "such as 50%, or a size") for text in ("0.5", "120%", "-1GB")),
        ("ENVIRONMENT", "Prod Env", "small letters, digits and hyphens"),
        ("TASK_RUNNER", "procs", "threads, dask, ray, or the address"),
        ("HASH_KEY", "short", "at least 32 characters; openssl"),
    ],
)
def test_a_text_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, text: str, words: str) -> None:
    monkeypatch.setenv(f"TOTESYS_{name}", text)
    with pytest.raises(SettingsError, match=f"TOTESYS_{name}: write .*{words}"):
        settings.load()
