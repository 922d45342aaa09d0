"""Serve the page on the warehouse, or on the demo's if none is configured: ``python -m tasks.dashboard``.

The options are those of ``python -m dashboard``.
"""

import os
import sys
from typing import NoReturn

from pipeline import connection, settings
from pipeline.settings import Settings, env_file
from tasks.connections import in_line


def main() -> NoReturn:
    """Replace this process by the page's; an error ends it with one line."""
    try:
        url = _url(settings.load())
    except Exception as error:  # noqa: BLE001  a person always gets one line
        sys.exit(f"error: {in_line(error)}")
    module = ["dashboard"] if url else ["demo", "dashboard"]
    if url:
        os.environ["TOTESYS_DASHBOARD_URL"] = url
    os.execv(sys.executable, [sys.executable, "-m", *module, *sys.argv[1:]])  # noqa: S606  no shell is needed


def _url(config: Settings) -> str | None:
    """The reader's URL, else the warehouse's, else that of the warehouse's block; None if there is none."""
    if config.dashboard_url:
        return config.dashboard_url.get_secret_value()
    if config.warehouse_url and connection.is_url(config.warehouse_url.get_secret_value()):
        return connection.of(config.warehouse_url.get_secret_value())
    if config.warehouse_url or "PREFECT_API_URL" in os.environ | env_file():
        return _url_of_block(config)
    return None


def _url_of_block(config: Settings) -> str:
    from tasks import blocks  # noqa: PLC0415  Prefect is loaded only where it is used

    return blocks.database_url(blocks.WAREHOUSE, config.environment)


if __name__ == "__main__":
    main()
