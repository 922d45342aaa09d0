"""An S3 server, moto's, whose listings can be late: new objects are not in them for some seconds.

Objects themselves can be read at once, as in stores that promise no more of their listings.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qs, unquote

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server
from werkzeug.test import run_wsgi_app

_OBJECT = re.compile(rb"<Contents>\s*<Key>(.*?)</Key>.*?</Contents>", re.DOTALL)
_FOLDER = re.compile(rb"<CommonPrefixes>\s*<Prefix>(.*?)</Prefix>\s*</CommonPrefixes>", re.DOTALL)


class _Quiet(MotoRequestHandler):
    """Answers requests, and logs none."""

    def log_request(self, *_: object) -> None:
        """Be quiet."""


class S3Server:
    """A running server; what was written less than ``delay`` seconds ago is in no listing.

    ``hidden`` counts the entries that listings lacked.
    """

    def __init__(self) -> None:
        self.delay = 0.0
        self.hidden = 0
        self._written: dict[str, float] = {}
        self._lock = Lock()
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._listening = make_server("127.0.0.1", 0, self, threaded=True, request_handler=_Quiet)
        self.port = int(self._listening.port)
        Thread(target=self._listening.serve_forever, daemon=True).start()

    def age(self, seconds: float) -> None:
        """Let all objects be older by this many seconds."""
        with self._lock:
            self._written = {path: at - seconds for path, at in self._written.items()}

    def close(self) -> None:
        """Answer no more."""
        self._listening.shutdown()
        self._listening.server_close()

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request as WSGI wants it."""
        path, query = unquote(environ["PATH_INFO"]), parse_qs(environ.get("QUERY_STRING", ""))
        if environ["REQUEST_METHOD"] in {"PUT", "POST"}:
            with self._lock:
                self._written.setdefault(path, time.monotonic())
        if not self.delay or "list-type" not in query:
            found: Iterable[bytes] = self._moto(environ, start)
            return found
        parts, status, headers = run_wsgi_app(self._moto, environ)
        body = self._without_new(b"".join(parts), path.rstrip("/"))
        headers.set("Content-Length", str(len(body)))
        start(status, headers.to_wsgi_list())
        return [body]

    def _without_new(self, listing: bytes, bucket: str) -> bytes:
        with self._lock:
            now = time.monotonic()
            age = {path: now - at for path, at in self._written.items() if path.startswith(f"{bucket}/")}

        def kept(entry: re.Match[bytes], *, folder: bool) -> bytes:
            path = f"{bucket}/{unquote(entry[1].decode())}"
            ages = [seconds for other, seconds in age.items() if folder and other.startswith(path)]
            if any(seconds >= self.delay for seconds in ages or [age.get(path, self.delay)]):
                return entry[0]
            self.hidden += 1
            return b""

        listing = _OBJECT.sub(lambda entry: kept(entry, folder=False), listing)
        return _FOLDER.sub(lambda entry: kept(entry, folder=True), listing)
