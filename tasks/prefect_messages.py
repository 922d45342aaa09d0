"""Errors of Prefect's client as one line.

Some are matched by their words, because Prefect raises no class of its own for them, as Prefect 3.8.8 writes
them; tests/flows/test_access.py and test_blocks.py fail where they change.
"""

import httpx
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_KEY, PREFECT_API_URL, PREFECT_CLOUD_API_URL

NO_SERVER = "Failed to reach API at "
NO_BLOCK = "Unable to find block"
_EXAMPLE = "http://127.0.0.1:4200/api"
_LAST_PORT = 65_535


def server_at(url: httpx.URL) -> str:
    """Prefect's server with its address, without a name and password that this may have."""
    return f"Prefect's server at {url.scheme}://{url.netloc.decode()}" if url.host else "Prefect's server"


def _wrong_address() -> str | None:
    """What to correct where PREFECT_API_URL is no address of a server; None if it may be one."""
    text = PREFECT_API_URL.value() or ""
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        url = httpx.URL()
    is_web = url.scheme in {"http", "https"} and bool(url.host) and (url.port or 0) <= _LAST_PORT
    if not text or (is_web and text == text.strip()):
        return None
    return f"PREFECT_API_URL is not the address of a server; write it like {_EXAMPLE}"


def api_hint() -> str:
    """What to correct where a server answers that something does not exist, if its address has no API."""
    url = (PREFECT_API_URL.value() or "").rstrip("/")
    if not url or url.endswith("/api") or "/workspaces/" in url:
        return ""
    return f"; PREFECT_API_URL has to end in /api, as in {_EXAMPLE}"


def of_client(error: BaseException, text: str) -> str | None:
    """What is wrong with Prefect's server, its address or the credentials; None for another error."""
    is_of_address = isinstance(error, httpx.InvalidURL | httpx.TransportError | OverflowError)
    is_unreached = text.startswith(NO_SERVER)
    if (is_of_address or is_unreached) and (wrong := _wrong_address()):
        return wrong
    cause = error.__cause__ if is_unreached else error
    if isinstance(cause, httpx.HTTPStatusError):
        return _refused(cause)
    if isinstance(error, httpx.TransportError) or is_unreached:
        server = server_at(httpx.URL(PREFECT_API_URL.value() or ""))
        reason = "" if is_unreached else f": {text}"
        return f"{server} cannot be reached{reason}; start it, or correct PREFECT_API_URL{api_hint()}"
    return None


def _refused(error: httpx.HTTPStatusError) -> str | None:
    """What to set if Prefect's server refuses the credentials; None if the request itself was wrong."""
    status, url = error.response.status_code, error.request.url
    server = server_at(url)
    if status >= httpx.codes.INTERNAL_SERVER_ERROR or status == httpx.codes.TOO_MANY_REQUESTS:
        return f"{server} answered {status} {error.response.reason_phrase}; look at its log, then run again"
    if status == httpx.codes.NOT_FOUND and (hint := api_hint()):
        return f"{server} has no API at this address (404){hint}"
    if status not in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return None
    if str(url).startswith(PREFECT_CLOUD_API_URL.value()):
        setting, what, value = PREFECT_API_KEY, "workspace", "a key of this workspace"
    else:
        setting, what = PREFECT_API_AUTH_STRING, "server"
        value = "user:password, as PREFECT_SERVER_API_AUTH_STRING has it on the server"
    if not setting.value():
        return f"{server} asks for credentials ({status}): set {setting.name} to {value}"
    if status == httpx.codes.FORBIDDEN:
        return f"{server} refuses access (403): {setting.name} may not use this {what}"
    return f"{server} does not accept {setting.name} (401): set it to {value}"
