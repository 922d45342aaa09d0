"""``python -m dashboard``: serve the page for the warehouse that TOTESYS_DASHBOARD_URL names."""

from __future__ import annotations

import argparse
import socket
import sys

from pipeline import postgres, settings
from pipeline.errors import PipelineError, SettingsError

HOST, PORT = "127.0.0.1", 8050


def main() -> int:
    """Serve until Ctrl-C; returns the exit status."""
    arguments = _parse()
    try:
        listener = _listen(arguments.host, arguments.port)
        _serve(listener, arguments.host)
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped")
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m dashboard", description=__doc__)
    parser.add_argument(
        "--host", default=HOST, help="the address to listen on (%(default)s: this machine only)"
    )
    parser.add_argument("--port", type=int, default=PORT, help="the port (%(default)s); 0: any free one")
    return parser.parse_args()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SettingsError(
            f"cannot listen on {host}, port {port}: {reason}; name others: make dashboard"
            ' ARGS="--host 127.0.0.1 --port 8051"'
        ) from None


def _serve(listener: socket.socket, host: str) -> None:
    config = settings.load()
    if config.dashboard_url is None:
        raise SettingsError(
            "TOTESYS_DASHBOARD_URL is not set; `make dashboard` finds the warehouse by itself"
        )
    # Imported here, so that a wrong setting is reported at once.
    import uvicorn  # noqa: PLC0415

    from dashboard.app import create  # noqa: PLC0415
    from dashboard.warehouse import Warehouse  # noqa: PLC0415

    postgres.application_name = "totesys dashboard"
    warehouse = Warehouse(config.dashboard_url.get_secret_value(), config.warehouse_schema)
    shown = f"[{host}]" if ":" in host else host
    print(f"Open http://{shown}:{listener.getsockname()[1]}  Ctrl-C ends it", flush=True)
    server = uvicorn.Server(
        uvicorn.Config(
            create(warehouse, host), log_level="warning", server_header=False, timeout_graceful_shutdown=2
        )
    )
    server.run(sockets=[listener])


if __name__ == "__main__":
    sys.exit(main())
