"""A mail server that accepts all mail, for tests that wait for one."""

from __future__ import annotations

import email
import email.policy
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage

from tests.flows.support import SECONDS_TO_WAIT


@dataclass
class Mailbox:
    """Received mails in order."""

    mails: list[EmailMessage] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        """Its Apprise URL."""
        return f"mailto://127.0.0.1:{self.port}?from=totesys@example.com&to=oncall@example.com"

    def subjects(self) -> list[str]:
        """The subjects of all mails."""
        return [str(mail["Subject"]) for mail in self.mails]

    def wait_for(self, words: str) -> str:
        """Wait for a mail whose subject contains a text; returns its body."""
        deadline = time.monotonic() + SECONDS_TO_WAIT
        while time.monotonic() < deadline:
            for mail in list(self.mails):
                if words in str(mail["Subject"]):
                    assert mail["To"] == "oncall@example.com"
                    assert mail.get_content_type() == "text/plain"
                    return str(mail.get_content())
            time.sleep(0.1)
        raise AssertionError(f"no mail about {words!r} came, only {self.subjects()}")


@contextmanager
def mailbox() -> Iterator[Mailbox]:
    """A mailbox on a free port of this machine."""
    box = Mailbox()

    class Session(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 here\r\n")
            for line in self.rfile:
                verb = line[:4].upper()
                if verb == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    text = b"".join(iter(self.rfile.readline, b".\r\n"))
                    box.mails.append(email.message_from_bytes(text, policy=email.policy.default))
                self.wfile.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 well\r\n")
                if verb == b"QUIT":
                    return

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session) as server:
        box.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield box
        finally:
            server.shutdown()
            thread.join()
