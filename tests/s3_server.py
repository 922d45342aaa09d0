"""moto's S3 server, which records requests, can refuse them, issues credentials and supports TLS."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from threading import Lock, Thread
from typing import Any
from xml.sax.saxutils import escape

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

CREDENTIALS = "/credentials"


@dataclass(frozen=True)
class Seen:
    """A request: its method, path and query, and the access key and region that it is signed for."""

    method: str
    path: str
    key: str
    region: str
    headers: dict[str, str]


@dataclass
class Server:
    """What a test sees of the server. ``refuse`` answers a request instead of S3 where it returns something.

    At ``CREDENTIALS`` it hands out another access key each time, as the metadata service of a
    container does; ``lifetime`` is how many later keys make one expire.
    """

    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    refuse: Callable[[Seen], Response | None] = lambda _: None
    issued: list[str] = field(default_factory=list)
    lifetime: int | None = None
    _moto: Any = field(default_factory=lambda: DomainDispatcherApplication(create_backend_app))
    _lock: Lock = field(default_factory=Lock)

    def renewed(self) -> Server:
        """The same server, without recorded requests, refusals or expiring keys."""
        self.refuse, self.lifetime = lambda _: None, None
        self.seen.clear()
        return self

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """Handle a WSGI request."""
        request = Request(environ)
        if request.path == CREDENTIALS:
            return self._issue()(environ, start)
        signed = re.search(r"Credential=([^/]+)/\d+/([^/]+)/", request.headers.get("Authorization", ""))
        key, region = signed.groups() if signed else ("", "")
        headers = {name.lower(): value for name, value in request.headers}
        seen = Seen(request.method, request.full_path.rstrip("?"), key, region, headers)
        self.seen.append(seen)
        if answer := self.refuse(seen) or self._expired(seen.key):
            request.get_data()  # a connection closed before its request is read looks cut to the client
            return answer(environ, start)
        found: Iterable[bytes] = self._moto(environ, start)
        return found

    def _issue(self) -> Response:
        with self._lock:
            self.issued.append(f"ASIA{len(self.issued):06}")
            made = {
                "AccessKeyId": self.issued[-1],
                "SecretAccessKey": "made-up",
                "Token": "made-up",
                "Expiration": f"{datetime.now(UTC) + timedelta(minutes=5):%Y-%m-%dT%H:%M:%SZ}",
            }
        return Response(json.dumps(made), mimetype="application/json")

    def _expired(self, key: str) -> Response | None:
        if self.lifetime is None or key in self.issued[-self.lifetime :]:
            return None
        return refusal("ExpiredToken", 400, "The provided token has expired.")


def refusal(code: str, status: int, message: str = "made up", **headers: str) -> Response:
    """An error response of S3."""
    body = f"<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error>"
    return Response(body, status, headers, mimetype="application/xml")


@contextmanager
def running(certificate: Path | None = None) -> Iterator[Server]:
    """A server; with a certificate's file, which holds its key too, over TLS."""
    server = Server()
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    listening = make_server(
        "127.0.0.1", 0, server, threaded=True, request_handler=MotoRequestHandler, ssl_context=context
    )
    server.url = f"{'https' if certificate else 'http'}://127.0.0.1:{listening.port}"
    thread = Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    yield server
    listening.shutdown()
    thread.join()
    listening.server_close()


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """The file of a new authority's certificate, and one of a certificate for 127.0.0.1 that it signed."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = _sign("authority", authority_key, "authority", authority_key, authority=True)
    certificate = _sign("server", key, "authority", authority_key, authority=False)
    files = folder / "authority.pem", folder / "server.pem"
    files[0].write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return files


def _sign(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    by: str,
    by_key: ec.EllipticCurvePrivateKey,
    *,
    authority: bool,
) -> x509.Certificate:
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, of)]) for of in (name, by)]
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(names[0])
        .issuer_name(names[1])
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(by_key, hashes.SHA256())
    )
