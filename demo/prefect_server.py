"""A Prefect server of the demo's own. Run as a program, it is that server.

It starts on its own while the demo goes on, and ends with the demo, however that ends.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress

_SECONDS_TO_START = 120.0
_SECONDS_TO_STOP = 3.0


class PrefectServer:
    """A Prefect server on a free port of 127.0.0.1, started at once and ready a little later."""

    def __init__(self, ui: bool = False) -> None:
        """Start it; ``ui`` also serves the pages for people."""
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen(128)
            self.port = int(listening.getsockname()[1])
            self._process = subprocess.Popen(
                [sys.executable, "-P", __file__, str(listening.fileno()), *(["ui"] if ui else [])],
                stdin=subprocess.PIPE,
                pass_fds=[listening.fileno()],
                env=os.environ | {"PREFECT_API_URL": self.api},
                start_new_session=True,
            )

    @property
    def address(self) -> str:
        """Where people look at it."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def api(self) -> str:
        """What PREFECT_API_URL has to say."""
        return f"{self.address}/api"

    def wait(self) -> None:
        """Return once it answers. Raises RuntimeError where it does not."""
        try:
            asked = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_SECONDS_TO_START)
            asked.request("GET", "/api/health")
            status = asked.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            raise RuntimeError(f"the Prefect server did not start: {error}") from None
        if status != http.HTTPStatus.OK:
            raise RuntimeError(f"the Prefect server did not start: it answers {status}")

    def stop(self) -> None:
        """End it and wait for that; nothing happens where it has ended."""
        if self._process.stdin:
            self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(2 * _SECONDS_TO_STOP)
            return
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):  # never without a limit: signal handlers call this
            self._process.wait(_SECONDS_TO_STOP)


def _end_with_parent() -> None:
    """End this process when its parent closes the pipe to it, or ends for whatever reason."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(_SECONDS_TO_STOP)
    os._exit(1)


def _serve(listening: socket.socket, ui: bool) -> None:
    import uvicorn
    from prefect.server.api.server import create_app

    app = create_app(ephemeral=not ui, webserver_only=ui, final=True)
    config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1)
    uvicorn.Server(config).run([listening])


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _serve(socket.socket(fileno=int(sys.argv[1])), ui="ui" in sys.argv[2:])
