"""PgBouncer in front of a test server, if it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from demo.binaries import account_for
from demo.postgres import Postgres, free_port

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
MISSING = "PgBouncer is not installed (Debian: apt-get install pgbouncer)"
_SECONDS = 20


@contextmanager
def pooler(server: Postgres, mode: str, size: int = 6) -> Iterator[Callable[[str], str]]:
    """Run PgBouncer in a mode, with this many sessions per database; yields what leads a URL through it."""
    assert PROGRAM, MISSING
    account = account_for(server.home)
    direct = conninfo_to_dict(server.url("postgres"))
    port = free_port()

    def through(url: str) -> str:
        return url.replace(f":{direct['port']}/", f":{port}/")

    with tempfile.TemporaryDirectory(prefix="tests-pooler-") as made:
        home = Path(made)
        files = {
            "users": f'"{direct["user"]}" "{direct["password"]}"\n',
            "ini": f"""
                [databases]
                * = host=127.0.0.1 port={direct["port"]}
                [pgbouncer]
                listen_addr = 127.0.0.1
                listen_port = {port}
                unix_socket_dir =
                auth_type = scram-sha-256
                auth_file = {home}/users
                pool_mode = {mode}
                default_pool_size = {size}
            """.replace("    ", ""),
        }
        for name, text in files.items():
            (home / name).write_text(text, encoding="utf-8")
        for path in (home, *home.iterdir()):
            if account:
                os.chown(path, account.uid, account.gid)
        running = subprocess.Popen(
            [PROGRAM, home / "ini"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
        try:
            _wait(running, through(server.url("postgres")))
            yield through
        finally:
            running.kill()
            running.wait()


def _wait(running: subprocess.Popen[bytes], url: str) -> None:
    """Wait until it accepts connections."""
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            assert running.poll() is None, "PgBouncer has ended"
            assert time.monotonic() < deadline, "PgBouncer does not answer"
            time.sleep(0.05)
        else:
            return
