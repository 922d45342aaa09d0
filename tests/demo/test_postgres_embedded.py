"""The embedded Postgres: starts, restarts, crashes, and its end with the process."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from demo import binaries
from demo.home import PROJECT
from demo.postgres import Postgres, PostgresError
from tests.system import PROGRAMS

FAST = {"fsync": "off"}
ROOT = PROJECT
pytestmark = pytest.mark.skipif(bool(os.environ.get(PROGRAMS)), reason=f"{PROGRAMS} names another server")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become another user")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Return a folder that every user may enter, unlike pytest's own under root."""
    made = Path(tempfile.mkdtemp(prefix="postgres-test-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Postgres]:
    server = Postgres(folder / "shared", settings=FAST | {"search_path": '"it\'s \\", public'})
    with server:
        yield server
    server.remove()


def ask(url: str, query: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
    return row and row[0]


def start_in_another_process(folder: Path, then: str) -> subprocess.Popen[str]:
    code = (
        "import os, signal, sys, time\n"
        # A shell that runs this in the background has it ignore the signal.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from pathlib import Path\n"
        "from demo.postgres import Postgres\n"
        f"server = Postgres(Path(sys.argv[1]), settings={FAST})\n"
        f"{then}\n"
    )
    return subprocess.Popen([sys.executable, "-c", code, folder], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def wait_until_stopped(server: Postgres, seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while server.running and time.monotonic() < deadline:
        time.sleep(0.02)
    return not server.running


def test_the_url_connects_to_the_database(server: Postgres) -> None:
    server.create_database("a shop/ü")
    server.create_database("a shop/ü")
    assert ask(server.url("a shop/ü"), "SELECT current_database()") == "a shop/ü"
    assert str(ask(server.url("postgres"), "SHOW server_version")).startswith("18.")


def test_url_of_another_user_is_quoted(server: Postgres) -> None:
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute("CREATE ROLE \"the reader\" LOGIN PASSWORD 'p@ss:/w'")
    url = server.url("postgres", "the reader", "p@ss:/w")
    assert ask(url, "SELECT current_user") == "the reader"
    assert "p@ss" not in url


def test_a_password_is_asked_for(server: Postgres) -> None:
    with pytest.raises(psycopg.OperationalError, match="password"):
        ask(server.url("postgres", "postgres", "wrong"), "SELECT 1")
    assert stat.S_IMODE((server.home / "password").stat().st_mode) == 0o600


def test_settings_reach_the_server(server: Postgres) -> None:
    settings = {"fsync": "off", "timezone": "UTC", "unix_socket_directories": ""}
    url = server.url("postgres")
    assert {name: ask(url, f"SHOW {name}") for name in settings} == settings
    assert ask(url, "SHOW search_path") == '"it\'s \\", public'


def test_a_running_server_is_used_as_it_is(server: Postgres) -> None:
    started = ask(server.url("postgres"), "SELECT pg_postmaster_start_time()")
    with Postgres(server.folder) as again:
        assert again.port == server.port
        assert ask(again.url("postgres"), "SELECT pg_postmaster_start_time()") == started
    assert server.running, "whoever did not start it does not stop it"


def test_it_survives_kill_and_restart_on_its_port(server: Postgres) -> None:
    port = server.port
    server.create_database("kept")
    server.kill()
    assert not server.running
    with pytest.raises(psycopg.OperationalError):
        ask(server.url("kept"), "SELECT 1")
    server.start()
    server.restart()
    assert ask(server.url("kept"), "SELECT 1") == 1
    assert server.port == port


def test_it_takes_another_port_when_its_own_is_taken(server: Postgres) -> None:
    server.stop("immediate")
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", server.port))
        taken.listen()
        before = server.port
        server.start()
        assert server.port != before
    assert ask(server.url("postgres"), "SELECT 1") == 1


def test_a_lock_file_of_a_dead_server_is_no_obstacle(folder: Path) -> None:
    server = Postgres(folder / "locked", settings=FAST, retry_seconds=2).start()
    lock = server.home / "data" / "postmaster.pid"
    text = lock.read_text()
    server.stop("immediate")
    dead = subprocess.Popen(["true"], user=lock.parent.stat().st_uid)
    time.sleep(0.1)  # it is over but nobody has waited for it
    lock.write_text(text.replace(text.split()[0], str(dead.pid), 1))
    os.chown(lock, lock.parent.stat().st_uid, lock.parent.stat().st_gid)
    server.start()
    dead.wait()
    assert server.running
    server.remove()


def test_the_other_version_and_its_data_folder(folder: Path) -> None:
    with Postgres(folder / "old", version=16, settings=FAST) as old:
        assert str(ask(old.url("postgres"), "SHOW server_version")).startswith("16.")
    assert not old.running
    with pytest.raises(PostgresError, match="holds data of Postgres 16, not 18"):
        Postgres(folder / "old").start()
    old.remove()
    assert list(old.folder.iterdir()) == []


def test_unknown_version(folder: Path) -> None:
    with pytest.raises(PostgresError, match="no Postgres 12: choose one of 18 and 16"):
        Postgres(folder / "unknown", version=12).start()


def test_a_wrong_setting_is_named_at_once(server: Postgres) -> None:
    server.stop()
    bad = Postgres(server.folder, settings=FAST | {"shared_buffers": "a lot"})
    with pytest.raises(PostgresError, match=r"did not start: .*shared_buffers.*server\.log"):
        bad.start()
    server.start()


def test_port_and_password_need_a_first_start(folder: Path) -> None:
    server = Postgres(folder / "never")
    assert not server.running
    server.stop()
    server.kill()
    with pytest.raises(PostgresError, match="start it"):
        server.url("postgres")


@pytest.mark.parametrize("end", ["pass", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_no_server_keeps_running(server: Postgres, end: str) -> None:
    server.stop()
    process = start_in_another_process(server.folder, f"server.start()\n{end}")
    process.communicate(timeout=20)
    assert wait_until_stopped(server)
    server.start()


def test_interrupt_from_the_terminal_is_an_orderly_stop(server: Postgres) -> None:
    server.stop()
    then = "with server:\n    print('up', flush=True)\n    time.sleep(60)"
    process = start_in_another_process(server.folder, then)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert not server.running
    assert "database system is shut down" in server.log.read_text()[-200:]
    server.start()


def test_a_kept_server_stays_and_starts_do_not_collide(server: Postgres) -> None:
    server.stop()
    starts = [start_in_another_process(server.folder, "server.start(keep=True)") for _ in "ab"]
    for process in starts:
        process.communicate(timeout=20)
    assert [process.returncode for process in starts] == [0, 0]
    assert server.running
    server.restart()


@as_root
def test_root_runs_it_as_a_plain_user(server: Postgres) -> None:
    lock = server.home / "data" / "postmaster.pid"
    assert lock.stat().st_uid != 0
    assert stat.S_IMODE(server.home.stat().st_mode) == 0o700


@as_root
def test_root_keeps_data_elsewhere_where_the_folder_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with Postgres(tmp_path / "closed", settings=FAST) as first:
        first.create_database("kept")
    assert tmp_path not in first.home.parents
    with Postgres(tmp_path / "closed", settings=FAST) as second:
        assert second.home == first.home
        assert ask(second.url("kept"), "SELECT 1") == 1
    second.remove()
    assert not first.home.exists()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


@as_root
def test_root_runs_a_copy_where_the_installed_programs_are_closed(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = binaries._package_folder()
    for part in (installed, installed.with_name(f"{installed.name}.libs")):
        (tmp_path / part.name).symlink_to(part)
    tmp_path.chmod(0o700)
    monkeypatch.setattr(binaries, "_package_folder", lambda: tmp_path / installed.name)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    account = binaries.account_for(folder / "none")
    programs = binaries.programs(18, account)
    assert folder in programs.parents
    written = programs.parent / "share" / "postgresql" / "postgres.bki"
    written.unlink()  # as a cleaner of temporary folders would
    assert binaries.programs(18, account) == programs
    assert written.exists()
    assert [path.name for path in folder.glob("totesys-*")] == [programs.parents[2].name]


@pytest.mark.skipif(os.geteuid() == 0, reason="root becomes another user")
def test_a_plain_user_runs_the_server_itself(folder: Path) -> None:
    assert binaries.account_for(folder) is None


def test_root_becomes_the_owner_of_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    account = binaries.account_for(tmp_path)
    assert account is not None
    assert account.uid == (tmp_path.stat().st_uid or account.uid) != 0
