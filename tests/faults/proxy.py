"""A TCP proxy that can cut connections half-way, hold them up, or answer in the server's place."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

_CHUNK = 65_536
_REQUESTS = (b"GET ", b"PUT ", b"POST ", b"HEAD ", b"DELETE ")


@dataclass(frozen=True)
class Trouble:
    """What a proxy does to the traffic from now on, ``times`` times.

    ``cut`` ends a connection once ``after`` more bytes went ``up`` to the server or came back;
    ``answer`` gives HTTP status ``status`` to requests after the next ``after`` ones; ``slow``
    holds every piece of data for ``seconds``; ``unanswered`` ends a connection instead of passing on
    the answer to a request that holds ``text``.
    """

    kind: Literal["cut", "answer", "slow", "unanswered"]
    after: int = 0
    times: int = 1
    up: bool = False
    status: int = 500
    seconds: float = 0.0
    text: bytes = b""


class Proxy:
    """Passes connections on to a port of this machine, which may change with time."""

    def __init__(self, target: Callable[[], int]) -> None:
        self._target = target
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._listening.getsockname()[1])
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._trouble: Trouble | None = None
        self._seen = 0
        self.hits = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def arm(self, trouble: Trouble | None) -> None:
        """Begin with a trouble, or end it."""
        with self._lock:
            self._trouble, self._seen, self.hits = trouble, 0, 0

    def cut(self) -> None:
        """End all connections as a broken cable would."""
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            _break(connection)

    def close(self) -> None:
        """Take no more connections, and end those that are there."""
        self._listening.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._target()), timeout=10)
        except OSError:
            _break(client)
            client.close()
            return
        server.settimeout(None)
        with self._lock:
            self._open |= {client, server}
        back = threading.Thread(target=self._pump, args=(server, client, False), daemon=True)
        back.start()
        self._pump(client, server, up=True)
        back.join()
        with self._lock:
            self._open -= {client, server}
        client.close()
        server.close()

    def _pump(self, source: socket.socket, sink: socket.socket, up: bool) -> None:
        """Pass on one direction until its end."""
        with suppress(OSError):
            while data := source.recv(_CHUNK):
                passed, whole = self._treat(data, source, up=up)
                if passed:
                    sink.sendall(passed)
                if not whole:
                    _break(source)
                    _break(sink)
                    return
        for connection in (source, sink):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _treat(self, data: bytes, source: socket.socket, *, up: bool) -> tuple[bytes, bool]:
        """What of the data to pass on, and whether the connection lives on."""
        with self._lock:
            trouble = self._trouble
            if trouble is None or self.hits >= trouble.times:
                return data, True
            if trouble.kind == "cut":
                return self._cut(trouble, data, up=up)
            if trouble.kind == "unanswered":
                return self._swallow(trouble, data, up=up)
            if trouble.kind == "answer":
                refused = self._refuses(trouble, data, up=up)
            else:
                self.hits += 1
                refused = False
        if refused:
            source.sendall(_answer(trouble.status))
            return b"", False
        if trouble.kind == "slow":
            time.sleep(trouble.seconds)
        return data, True

    def _cut(self, trouble: Trouble, data: bytes, *, up: bool) -> tuple[bytes, bool]:
        if up != trouble.up:
            return data, True
        left = trouble.after - self._seen
        self._seen += len(data)
        if len(data) <= left:
            return data, True
        self.hits += 1
        self._seen = 0
        return data[: max(0, left)], False

    def _swallow(self, trouble: Trouble, data: bytes, *, up: bool) -> tuple[bytes, bool]:
        if up:
            self._seen += trouble.text in data
            return data, True
        if not self._seen:
            return data, True
        self.hits += 1
        return b"", False

    def _refuses(self, trouble: Trouble, data: bytes, *, up: bool) -> bool:
        if not up or not data.startswith(_REQUESTS):
            return False
        self._seen += 1
        if self._seen <= trouble.after:
            return False
        self.hits += 1
        return True


def _answer(status: int) -> bytes:
    code = {503: "SlowDown"}.get(status, "InternalError")
    body = f"<Error><Code>{code}</Code><Message>made up</Message></Error>".encode()
    head = f"HTTP/1.1 {status} {code}\r\nContent-Type: application/xml\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _break(connection: socket.socket) -> None:
    """Reset a connection: no orderly end."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
