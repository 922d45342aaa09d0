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
_SIMPLE_QUERY, _PARSE = ord("Q"), ord("P")


@dataclass
class Traffic:
    """What clients have sent since the last ``clear``.

    ``round_trips`` counts how often a client waited for an answer before it went on; connecting takes some.
    ``statements`` are the texts, the settings at the beginning of a transaction left out.
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

    def count(
        self, *, connections: int = 0, round_trips: int = 0, statements: list[str] | None = None
    ) -> None:
        """Add to the traffic."""
        with self._lock:
            self.traffic.connections += connections
            self.traffic.round_trips += round_trips
            self.traffic.statements += statements or []


class _Link:
    """One client's connection."""

    def __init__(self, relay: Relay, client: socket.socket, server: socket.socket) -> None:
        self._relay, self._client, self._server = relay, client, server
        self._is_asking = False
        self._is_started = False
        self._rest = b""

    def start(self) -> None:
        """Pass on both directions."""
        self._relay.count(connections=1)
        Thread(target=self._to_server, daemon=True).start()
        Thread(target=self._to_client, daemon=True).start()

    def _to_server(self) -> None:
        with suppress(OSError):
            while data := self._client.recv(_CHUNK):
                if not self._is_asking:
                    self._is_asking = True
                    self._relay.count(round_trips=1)
                self._relay.count(statements=list(self._statements(data)))
                self._server.sendall(data)
        self._shut_down()

    def _to_client(self) -> None:
        with suppress(OSError):
            while data := self._server.recv(_CHUNK):
                self._is_asking = False
                if self._relay.delay:
                    time.sleep(self._relay.delay)
                self._client.sendall(data)
        self._shut_down()

    def _shut_down(self) -> None:
        for end in (self._client, self._server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _statements(self, data: bytes) -> Iterator[str]:
        """The texts of statements, as far as their messages are complete."""
        self._rest += data
        while True:
            # Before the session has started, messages have no type; the startup's version is 3.
            head = 1 if self._is_started else 0
            if len(self._rest) < head + 4:
                return
            size = head + int.from_bytes(self._rest[head : head + 4])
            if len(self._rest) < size:
                return
            message, self._rest = self._rest[:size], self._rest[size:]
            if not self._is_started:
                self._is_started = message[4:6] == b"\0\3"
            elif message[0] == _SIMPLE_QUERY:
                yield message[5:-1].decode()
            elif message[0] == _PARSE:
                yield message[5:].split(b"\0")[1].decode()


@contextmanager
def relay(url: str, delay: float = 0.0) -> Iterator[Relay]:
    """Run a relay to the server of a URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = Relay(url, listener.getsockname()[1], delay=delay)
        Thread(target=made.serve, args=(listener,), daemon=True).start()
        yield made
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
