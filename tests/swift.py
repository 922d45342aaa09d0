"""A second, independent S3: OpenStack Swift with its s3api, on disk, which checks signatures.

Four servers of the ``swift`` package, started as they are; Linux only.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

BIN = Path(sys.executable).parent
OWNER, READER = ("test:owner", "the-owners-own-key"), ("test:reader", "the-readers-own-key")
SECONDS_TO_START = 60
BACKENDS = ("account", "container", "object")
PIPELINE = (
    "catch_errors gatekeeper healthcheck proxy-logging cache listing_formats bulk tempurl s3api tempauth"
    " copy slo dlo versioned_writes symlink proxy-logging proxy-server"
)
BACKEND = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
mount_check = false
devices = {home}/devices
swift_dir = {home}
[pipeline:main]
pipeline = {name}-server
[app:{name}-server]
use = egg:swift#{name}
"""
PROXY = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
swift_dir = {home}
[pipeline:main]
pipeline = {pipeline}
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:tempauth]
use = egg:swift#tempauth
user_test_owner = {owner} .admin
user_test_reader = {reader}
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
[filter:cache]
use = egg:swift#memcache
memcache_servers =
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:proxy-logging]
use = egg:swift#proxy_logging
"""
PLAIN_FILTERS = [
    "catch_errors",
    "gatekeeper",
    "healthcheck",
    "bulk",
    "tempurl",
    "copy",
    "slo",
    "dlo",
    "versioned_writes",
    "symlink",
]


@dataclass(frozen=True)
class Swift:
    """Where it answers. A bucket made with ACL ``public-read`` is one that READER may read."""

    endpoint: str


@contextmanager
def running(home: Path) -> Iterator[Swift]:
    """All four servers for as long as the block runs, with their data in a folder."""
    (home / "devices" / "disk").mkdir(parents=True)
    (home / "swift.conf").write_text("[swift-hash]\nswift_hash_path_suffix = tests\n")
    with ExitStack() as stack:
        for name in BACKENDS:
            port = _free_port()
            _ring(home, name, port)
            stack.enter_context(_server(home, name, BACKEND.format(name=name, port=port, home=home)))
        port = _free_port()
        filters = "".join(f"[filter:{name}]\nuse = egg:swift#{name}\n" for name in PLAIN_FILTERS)
        config = PROXY.format(port=port, home=home, pipeline=PIPELINE, owner=OWNER[1], reader=READER[1])
        stack.enter_context(_server(home, "proxy", config + filters))
        endpoint = f"http://127.0.0.1:{port}"
        _wait_for(f"{endpoint}/healthcheck", home)
        yield Swift(endpoint)


def _free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


def _ring(home: Path, name: str, port: int) -> None:
    """One copy of everything, on one disk."""
    for arguments in (["create", "1", "1", "0"], ["add", f"r1z1-127.0.0.1:{port}/disk", "1"], ["rebalance"]):
        command = [str(BIN / "swift-ring-builder"), str(home / f"{name}.builder"), *arguments]
        subprocess.run(command, check=True, capture_output=True)


@contextmanager
def _server(home: Path, name: str, config: str) -> Iterator[None]:
    (home / f"{name}.conf").write_text(config)
    with (home / f"{name}.log").open("wb") as log:
        command = [str(BIN / f"swift-{name}-server"), str(home / f"{name}.conf"), "--verbose"]
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for(url: str, home: Path) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url).close()  # noqa: S310  an address of our own
        except urllib.error.URLError:
            time.sleep(0.1)
        else:
            return
    logs = "\n".join(path.read_text()[-1_000:] for path in sorted(home.glob("*.log")))
    raise AssertionError(f"swift does not answer: {logs}")


def found() -> bool:
    """Whether swift is installed; it runs on Linux only."""
    return shutil.which("swift-proxy-server", path=str(BIN)) is not None
