"""The requests that this process sends to S3 and to Prefect's API."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch
from urllib.parse import unquote, urlsplit

from botocore.httpsession import URLLib3Session
from prefect.client.base import PrefectHttpxAsyncClient, PrefectHttpxSyncClient


@dataclass(frozen=True)
class Sent:
    """A request to ``S3`` or to ``Prefect``: its method and path; the method of a listing is LIST."""

    service: str
    method: str
    path: str


@contextmanager
def recorded() -> Iterator[list[Sent]]:
    """Record the requests that are sent in the body of the ``with``; one that Prefect repeats counts once."""
    sent: list[Sent] = []

    def note(service: str, method: str, url: str) -> None:
        is_list = service == "S3" and "list-type=2" in url
        sent.append(Sent(service, "LIST" if is_list else method, unquote(urlsplit(url).path)))

    with (
        _noted(PrefectHttpxSyncClient, "Prefect", note),
        _noted(PrefectHttpxAsyncClient, "Prefect", note),
        _noted(URLLib3Session, "S3", note),
    ):
        yield sent


def _noted(client: Any, service: str, note: Callable[[str, str, str], None]) -> Any:
    """A patch of a client's class that notes each request; it works for ``async`` methods, too."""
    send = client.send

    def noting(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        note(service, request.method, str(request.url))
        return send(self, request, *args, **kwargs)

    return patch.object(client, "send", noting)
