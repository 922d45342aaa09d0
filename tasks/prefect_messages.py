"""Messages of Prefect that are matched by their words, because Prefect raises no class of its own for them.

As Prefect 3.8.8 writes them; tests/flows/test_access.py and test_blocks.py fail where they change.
"""

import httpx
from prefect.settings import PREFECT_API_URL

NO_SERVER = "Failed to reach API at "
NO_BLOCK = "Unable to find block"


def server_at(url: httpx.URL) -> str:
    """Prefect's server with its address, without a name and password that this may have."""
    return f"Prefect's server at {url.scheme}://{url.netloc.decode()}" if url.host else "Prefect's server"


def api_hint() -> str:
    """What to correct where a server answers that something does not exist, if its address has no API."""
    url = (PREFECT_API_URL.value() or "").rstrip("/")
    if not url or url.endswith("/api") or "/workspaces/" in url:
        return ""
    return "; PREFECT_API_URL has to end in /api, as in http://127.0.0.1:4200/api"
