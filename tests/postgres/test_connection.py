"""URLs have the meaning that libpq gives them, or are refused by part and reason."""

from __future__ import annotations

import socket
import string
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from urllib.parse import quote

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg import conninfo, sql

from demo.postgres import Postgres
from pipeline import connection
from pipeline.beginning import READING, Beginning
from pipeline.connection import Malformed
from pipeline.errors import SettingsError
from pipeline.postgres import Unreachable, transaction
from tests.servers import described_server
from tests.support import execute

# Characters of passwords, and those that are often not percent-encoded by mistake.
SIGNS = string.ascii_letters + string.digits + string.punctuation + " äß€😀\u00a0"
PASSWORDS = st.text(SIGNS, min_size=1, max_size=20)
FORMS = {
    "postgresql://me:pw@h/db": {"user": "me", "password": "pw", "host": "h", "dbname": "db"},
    "postgres://h/db": {"host": "h", "dbname": "db"},
    "POSTGRESQL://h/db": {"host": "h", "dbname": "db"},
    "postgresql+psycopg2://me@h:5433/db": {"user": "me", "host": "h", "port": "5433", "dbname": "db"},
    " \t postgresql://h/db \n": {"host": "h", "dbname": "db"},
    "postgresql://r:two%20words@h/db": {"user": "r", "password": "two words", "host": "h", "dbname": "db"},
    "postgresql://r:a+b:c?d#e@h/d+b": {"user": "r", "password": "a+b:c?d#e", "host": "h", "dbname": "d+b"},
    "postgresql://h1:5432,h2:5433/db?target_session_attrs=read-write": {
        "host": "h1,h2",
        "port": "5432,5433",
        "dbname": "db",
        "target_session_attrs": "read-write",
    },
    "postgresql://h1,h2/db": {"host": "h1,h2", "port": ",", "dbname": "db"},
    "postgresql://[::1]:5432,[fe80::1%25eth0]/db": {
        "host": "::1,fe80::1%eth0",
        "port": "5432,",
        "dbname": "db",
    },
    "postgresql://%2Fvar%2Frun%2Fa%20b/db": {"host": "/var/run/a b", "dbname": "db"},
    "postgresql:///db?host=/var/run/a%20b&port=5433": {
        "host": "/var/run/a b",
        "port": "5433",
        "dbname": "db",
    },
    "postgresql:///?dbname=db&user=me&password=p%40w": {"user": "me", "password": "p@w", "dbname": "db"},
    "postgresql://h/db?options=-c%20search_path%3Da+b&sslrootcert=/my%20ca+1.pem": {
        "host": "h",
        "dbname": "db",
        "options": "-c search_path=a+b",
        "sslrootcert": "/my ca+1.pem",
    },
    "postgresql://h/db?ssl=true": {"host": "h", "dbname": "db", "sslmode": "require"},
    "postgresql://h/?service=mine": {"host": "h", "service": "mine"},
}
REFUSED = {
    "mysql://r:S3cret@h/db": "scheme: mysql:// is not a PostgreSQL database",
    "mysql+pymysql://r:S3cret@h/db": r"scheme: mysql\+pymysql:// is not a PostgreSQL database",
    "postgres//r:S3cret@h/db": "connection: is neither postgresql://",
    "postgresql://r:S3cret@h": "database: it is missing",
    "postgresql://r:S3cret@h/": "database: it is missing",
    "postgresql://r:p@S3cret@h/db": "password: it contains a raw @; write it as %40",
    "postgresql://r:p/S3cret@h/db": "password: it contains a raw /; write it as %2F",
    "postgresql://r:S3cret@h/db?application_name=a@b": "password or options: it contains a raw @",
    "postgresql://r:two S3cret@h/db": "password: it contains white space; write a space as %20",
    "postgresql://two words:S3cret@h/db": "user: it contains white space",
    "postgresql://r:S3cret@h h/db": "host: it contains white space",
    "postgresql://r:S3cret@h/d b": "database: it contains white space",
    "postgresql://r:S3cret@h/db?options=-c x": "option options: it contains white space",
    "postgresql://r:S3cret%@h/db": "password: it contains a raw %; write it as %25",
    "postgresql://r:S3cret%zz@h/db": "password: it contains a raw %; write it as %25",
    "postgresql://r:S3cret%ff@h/db": "password: it is not UTF-8",
    "postgresql://r:S3cret\udcff@h/db": "password: it is not UTF-8",
    "postgresql://r:S3cret%00@h/db": "password: it contains the character NUL",
    "postgresql://r:S3cret@h:x/db": "port: it is not a number from 1 to 65535",
    "postgresql://r:S3cret@h:0/db": "port: it is not a number",
    "postgresql://r:S3cret@h:65536/db": "port: it is not a number",
    "postgresql://r:S3cret/db": "port: it is not a number",
    "postgresql://r:S3cret@::1/db": r"host: brackets or colons are wrong; .* \[::1\]",
    "postgresql://r:S3cret@[::1/db": "host: brackets or colons",
    "postgresql://r:S3cret@/db?host=h:5433": "host: it contains a port or a colon",
    "postgresql://r:S3cret@/db?host=h1&host=h2": "option host: it occurs twice",
    "postgresql://r:S3cret@h/db?port=1,2": "port: there are 2 for 1 hosts",
    "postgresql://r:S3cret@h/db?pasword=x": "option pasword: libpq has no such option; did you mean pass",
    "postgresql://r:S3cret@h/db?sslmode": "options: one has no value",
    "postgresql://r:S3cret@h/db?options=-cx=y": "option options: its value contains a raw =",
}


@pytest.mark.parametrize("url", FORMS)
def test_a_url_is_read_as_libpq_does(url: str) -> None:
    assert connection.parts_of_url(url) == FORMS[url]
    assert connection.parts_of(connection.of(url)) == FORMS[url]


@pytest.mark.parametrize("url", REFUSED)
def test_an_unusable_url_is_refused_by_part_and_reason(url: str) -> None:
    with pytest.raises(Malformed, match=f"^{REFUSED[url]}") as caught:
        connection.of(url)
    assert "S3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(PASSWORDS, PASSWORDS)
@example("two words", "-c search_path=a b")
@example("'\\", "\\ '")
def test_every_value_comes_out_as_it_was_encoded(password: str, option: str) -> None:
    """By libpq, and by psycopg's conninfo, which connects."""
    encoded = f"postgresql://u:{quote(password, safe='')}@h/db?application_name={quote(option, safe='')}"
    made = connection.of(encoded)
    expected = {"user": "u", "password": password, "host": "h", "dbname": "db", "application_name": option}
    assert conninfo.conninfo_to_dict(made) == expected


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(PASSWORDS)
@example("p@ssword1")
@example("two words")
@example("a/b?c=d")
def test_a_raw_password_is_read_as_libpq_does_or_refused_without_showing_it(password: str) -> None:
    url = f"postgresql://u:{password}@h/db"
    try:
        parts = connection.parts_of_url(url)
    except Malformed as refused:
        message = str(refused).replace(connection.FORM, "")
        assert len(password) < 4 or password not in message
    else:
        assert parts == conninfo.conninfo_to_dict(url)


@pytest.fixture(scope="module")
def everywhere() -> Iterator[Postgres]:
    """A server that listens on IPv4, IPv6 and a socket whose folder has a space in its name."""
    addresses = "127.0.0.1,::1" if has_ipv6() else "127.0.0.1"
    with described_server("sockets", listen_addresses=addresses) as server:
        sockets = server.folder / "a b"
        sockets.mkdir()
        sockets.chmod(0o777)
        server.settings["unix_socket_directories"] = f'"{sockets}"'
        yield server.start()


def has_ipv6() -> bool:
    with suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


def userinfo(server: Postgres) -> str:
    return server.url("postgres").removeprefix("postgresql://").partition("@")[0]


def test_a_socket_is_reached_however_its_path_is_written(everywhere: Postgres) -> None:
    folder = quote(str(everywhere.folder / "a b"), safe="")
    for url in (
        f"postgresql://{userinfo(everywhere)}@{folder}:{everywhere.port}/postgres",
        f"postgresql://{userinfo(everywhere)}@/postgres?host={folder}&port={everywhere.port}",
    ):
        with transaction(url, "source") as found:
            assert found.execute("SELECT inet_server_addr()").fetchone() == (None,)


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_an_ipv6_address_is_reached(everywhere: Postgres) -> None:
    url = f"postgres://{userinfo(everywhere)}@[::1]:{everywhere.port}/postgres"
    with transaction(url, "source") as found:
        assert found.execute("SELECT host(inet_server_addr())").fetchone() == ("::1",)


def test_of_several_hosts_the_writable_one_is_used(
    postgres: Postgres, servers: Callable[[int], Postgres]
) -> None:
    """Like after a failover: the first host refuses writes, and another one does not answer."""
    role, password, other = f"r_{uuid.uuid4().hex[:8]}", "two words & p@/%", servers(16)
    for server in (postgres, other):
        create = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role), password)
        with psycopg.connect(server.url("postgres"), autocommit=True) as admin:
            admin.execute(create)
    execute(postgres.url("postgres"), f"ALTER ROLE {role} SET default_transaction_read_only = on")
    try:
        hosts = f"127.0.0.1:1,127.0.0.1:{postgres.port},127.0.0.1:{other.port}"
        url = f"postgresql+psycopg://{role}:{quote(password, safe='')}@{hosts}/postgres"
        with transaction(f"{url}?target_session_attrs=read-write", "warehouse") as found:
            assert found.info.server_version // 10000 == other.version
        with transaction(f"{url}?target_session_attrs=any", "warehouse") as found:
            assert found.info.server_version // 10000 == postgres.version
    finally:
        for server in (postgres, other):
            execute(server.url("postgres"), f"DROP ROLE {role}")


def test_options_reach_the_server_as_they_were_encoded(source_url: str) -> None:
    options = quote('-c search_path="one\\ two","three+four"', safe="")
    with psycopg.connect(connection.of(f"{source_url}?options={options}")) as found:
        assert found.execute("SHOW search_path").fetchone() == ('"one two","three+four"',)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("sslmode=sometimes", 'invalid sslmode value: "sometimes"'),
        ("target_session_attrs=any-time", "invalid target_session_attrs value"),
        ("sslmode=require", "server does not support SSL"),
        ("options=-c%20work_mem%3Dmuch", 'invalid value for parameter "work_mem"'),
        ("connect_timeout=soon", "connect_timeout"),
        ("service=nowhere", 'definition of service "nowhere" not found'),
    ],
)
def test_an_option_with_a_wrong_value_is_named_and_not_retried(
    source_url: str, monkeypatch: pytest.MonkeyPatch, option: str, message: str
) -> None:
    def tried_again(_: float) -> None:
        raise AssertionError

    monkeypatch.setattr("pipeline.postgres.time.sleep", tried_again)
    with (
        pytest.raises(SettingsError, match=f"^source: .*{message}.*; check its URL"),
        transaction(f"{source_url}?{option}", "source"),
    ):
        pass


def test_a_malformed_url_is_refused_before_anything_is_connected() -> None:
    with (
        pytest.raises(SettingsError, match=r"^source: password: it contains a raw @"),
        transaction("postgresql://u:p@ss@127.0.0.1:1/db", "source"),
    ):
        pass
    with (
        pytest.raises(Unreachable, match="cannot be reached"),
        transaction("postgresql://u:p%40ss@127.0.0.1:1/db", "source", pauses=()),
    ):
        pass


def test_a_server_that_is_too_old_is_refused_in_one_line(postgres: Postgres) -> None:
    """Servers that old are not available here, so the test raises the limit."""
    beginning = Beginning("source", READING, lock_timeout=1, oldest=postgres.version + 1)
    words = rf"PostgreSQL {postgres.version}, and the oldest supported version is {postgres.version + 1}"
    with (
        psycopg.connect(postgres.url("postgres"), autocommit=True) as opened,
        pytest.raises(SettingsError, match=words),
    ):
        beginning.begin(opened)
