"""A headless Chromium, driven by its DevTools protocol; it reaches no address but this machine's."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import connect
from websockets.sync.connection import Connection

_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)
_SECONDS = 60
_DRAWN = (
    "document.readyState == 'complete' && [...document.querySelectorAll('[data-chart]')]"
    ".every(box => box.querySelector('.main-svg'))"
)


class Browser:
    """A page of the browser; ``problems`` are foreign requests, refused scripts and errors."""

    def __init__(self, socket: Connection) -> None:
        self._socket, self._number = socket, 0
        self._events: list[dict[str, Any]] = []
        for domain in ("Network", "Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Call a method of the protocol; returns its result."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=_SECONDS))
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return dict(answer["result"])
            self._events.append(answer)

    def evaluate(self, script: str) -> Any:
        """The value of a script."""
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def wait_until(self, script: str) -> None:
        """Wait until a script's value is true."""
        deadline = time.monotonic() + _SECONDS
        while not self.evaluate(script):
            assert time.monotonic() < deadline, script
            time.sleep(0.02)

    def resize(self, width: int, height: int) -> None:
        """Show pages as a window or, if it is narrow, a phone of this size does."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip

    def open(self, address: str, theme: str = "light") -> float:
        """Open a page and wait until its charts are drawn; returns the seconds."""
        began = time.monotonic()
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
        self.call("Page.navigate", url=address)
        self.wait_until(_DRAWN)
        return time.monotonic() - began

    def picture(self, path: Path) -> None:
        """Save what the window shows."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def problems(self, address: str) -> list[str]:
        """Requests for other addresses, and errors."""
        self.evaluate("1")
        asked = [
            event["params"]["request"]["url"]
            for event in self._events
            if event["method"] == "Network.requestWillBeSent"
        ]
        errors = [
            json.dumps(event["params"])
            for event in self._events
            if event["method"] in {"Runtime.exceptionThrown", "Log.entryAdded"}
        ]
        return [url for url in asked if not url.startswith((address, "data:", "blob:"))] + errors


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser with a new profile."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert program, "there is no chromium; Debian: apt-get install chromium"
    profile = tempfile.mkdtemp(prefix="chromium-")
    process = subprocess.Popen(
        [program, *_OPTIONS, f"--user-data-dir={profile}", "about:blank"], stderr=subprocess.DEVNULL
    )
    try:
        with connect(_debugger(Path(profile)), max_size=None) as socket:
            yield Browser(socket)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(profile, ignore_errors=True)


def _debugger(profile: Path) -> str:
    """The address of the first page's debugger, once the browser listens."""
    deadline = time.monotonic() + _SECONDS
    port = profile / "DevToolsActivePort"
    while not port.exists() or len(port.read_text().split()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    pages = httpx.get(f"http://127.0.0.1:{port.read_text().split()[0]}/json").json()
    return str(next(each["webSocketDebuggerUrl"] for each in pages if each["type"] == "page"))
