"""A relay in front of a Postgres server that counts connections and round trips, and lists statements."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Lock, Thread

from psycopg.conninfo import conninfo_to_dict

_CHUNK = 1 << 16
_SIMPLE_QUERY, _PARSE = b"Q", b"P"
# Messages after which a client waits for an answer: a query, the end of one or more queries in the extended
# protocol, a flush, the end of a COPY, and a password. The messages that begin a session have no type.
_AWAITED = {_SIMPLE_QUERY, b"S", b"H", b"c", b"p", b""}


@dataclass
class Traffic:
    """What clients have sent since the last ``clear``.

    ``round_trips`` counts how often a client waited for an answer; connecting takes some.
    """

    connections: int = 0
    round_trips: int = 0
    statements: list[str] = field(default_factory=list)

    def clear(self) -> None:
        """Count from zero again."""
        self.connections = self.round_trips = 0
        self.statements.clear()


@dataclass
class Relay:
    """Passes connections on to a server; each message of the server is ``delay`` seconds late."""

    url: str
    port: int
    traffic: Traffic = field(default_factory=Traffic)
    delay: float = 0.0
    _lock: Lock = field(default_factory=Lock)

    def through(self, url: str) -> str:
        """The URL of a database of the server, through the relay."""
        return url.replace(f":{conninfo_to_dict(self.url)['port']}/", f":{self.port}/")

    def serve(self, listener: socket.socket) -> None:
        """Accept connections until the listener is closed."""
        parts = conninfo_to_dict(self.url)
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection((str(parts["host"]), int(str(parts["port"]))))
                for end in (client, server):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                _Link(self, client, server).start()

    def count(self, message: bytes, text: bytes) -> None:
        """Count a message of this type and content."""
        with self._lock:
            self.traffic.round_trips += message in _AWAITED
            if message == _SIMPLE_QUERY:
                self.traffic.statements.append(text[:-1].decode())
            elif message == _PARSE:
                self.traffic.statements.append(text.split(b"\0")[1].decode())

    def count_connection(self) -> None:
        """Count a connection."""
        with self._lock:
            self.traffic.connections += 1


class _Link:
    """One client's connection."""

    def __init__(self, relay: Relay, client: socket.socket, server: socket.socket) -> None:
        self._relay, self._client, self._server = relay, client, server
        self._is_started = False
        self._rest = b""

    def start(self) -> None:
        """Pass on both directions."""
        self._relay.count_connection()
        Thread(target=self._to_server, daemon=True).start()
        Thread(target=self._to_client, daemon=True).start()

    def _to_server(self) -> None:
        with suppress(OSError):
            while data := self._client.recv(_CHUNK):
                self._rest += data
                self._count_messages()
                self._server.sendall(data)
        self._shut_down()

    def _to_client(self) -> None:
        with suppress(OSError):
            while data := self._server.recv(_CHUNK):
                if self._relay.delay:
                    time.sleep(self._relay.delay)
                self._client.sendall(data)
        self._shut_down()

    def _shut_down(self) -> None:
        for end in (self._client, self._server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _count_messages(self) -> None:
        """Count the messages that have come as a whole."""
        while True:
            # Before the session has started, messages have no type; the startup's version is 3.
            head = 1 if self._is_started else 0
            size = head + int.from_bytes(self._rest[head : head + 4])
            if len(self._rest) < max(size, head + 4):
                return
            message, self._rest = self._rest[:size], self._rest[size:]
            self._relay.count(message[:head], message[head + 4 :])
            self._is_started = self._is_started or message[4:6] == b"\0\3"


@contextmanager
def relay(url: str, delay: float = 0.0) -> Iterator[Relay]:
    """Run a relay to the server of a URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = Relay(url, listener.getsockname()[1], delay=delay)
        Thread(target=made.serve, args=(listener,), daemon=True).start()
        yield made
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
