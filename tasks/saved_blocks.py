"""Load saved Prefect blocks: in a flow run, all of an environment with one request."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, cast

from prefect.blocks.core import Block
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import BlockDocument
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.settings import get_current_settings
from pydantic import ValidationError
from sqlalchemy import make_url

from pipeline.errors import SettingsError
from pipeline.redaction import learn_all
from tasks.prefect_messages import NO_BLOCK

_AnyBlock = TypeVar("_AnyBlock", bound=Block)

# Blocks that are tested before they are saved, by name.
_unsaved: ContextVar[Mapping[str, Block]] = ContextVar("unsaved", default=MappingProxyType({}))
# The flow run whose blocks its subflows and tasks use too.
_sharing_run: ContextVar[str | None] = ContextVar("sharing_run", default=None)


@contextmanager
def unsaved(name: str, block: Block) -> Iterator[None]:
    """Use this block for the name in the body of the ``with``, instead of the saved one."""
    token = _unsaved.set({**_unsaved.get(), name: block})
    try:
        yield
    finally:
        _unsaved.reset(token)


@contextmanager
def shared() -> Iterator[None]:
    """Share this flow run's blocks with the subflows and tasks that it starts in the body of the ``with``."""
    token = _sharing_run.set(flow_run.id)
    try:
        yield
    finally:
        _sharing_run.reset(token)


def current_run() -> str | None:
    """The flow run that blocks are loaded for; None outside of flow runs, and where unsaved ones are used."""
    return None if _unsaved.get() else _sharing_run.get() or flow_run.id


def load(kind: type[_AnyBlock], name: str, together: tuple[str, ...] = ()) -> _AnyBlock | None:
    """The block, loaded once per flow run; None if there is none.

    In a flow run, the blocks of the names ``together`` are fetched with one request instead of one each.
    """
    if unsaved_block := _unsaved.get().get(name):
        return unsaved_block if isinstance(unsaved_block, kind) else None
    run = current_run()
    return _load_once(run, kind, name, together) if run else _load(kind, name)


@lru_cache(maxsize=64)
def _load_once(run: str, kind: type[_AnyBlock], name: str, together: tuple[str, ...]) -> _AnyBlock | None:
    return _load(kind, name, _fetch_once(run, together) if name in together else None)


@lru_cache(maxsize=4)
def _fetch_once(_: str, names: tuple[str, ...]) -> "_Fetched | None":
    if _prefect_is_new():
        return None
    asked = {"block_documents": {"name": {"any_": names}}, "include_secrets": True}
    with get_client(sync_client=True) as client:
        found = client.request("POST", "/block_documents/filter", json=asked).json()
    return _Fetched([BlockDocument.model_validate(each) for each in found])


class _Fetched:
    """Block documents, read as ``Block.load`` reads them from Prefect's server."""

    def __init__(self, documents: list[BlockDocument]) -> None:
        self._by_slug = {(each.block_type.slug, each.name): each for each in documents if each.block_type}

    async def read_block_document_by_name(self, name: str, block_type_slug: str, **_: Any) -> BlockDocument:  # noqa: ANN401
        """The document; raises ObjectNotFound if there is none."""
        if document := self._by_slug.get((block_type_slug, name)):
            return document
        raise ObjectNotFound(http_exc=LookupError(name))


def _load(kind: type[_AnyBlock], name: str, fetched: _Fetched | None = None) -> _AnyBlock | None:
    if _prefect_is_new():
        return None
    try:
        loaded = kind.load(name, client=cast("PrefectClient | None", fetched))
    except (ValidationError, RuntimeError) as error:
        invalid = error if isinstance(error, ValidationError) else error.__cause__
        if not isinstance(invalid, ValidationError):
            raise
        # Its own message shows the block's values.
        parts = ", ".join(sorted({str(each["loc"][0]) for each in invalid.errors() if each["loc"]}))
        slug = f"{kind.get_block_type_slug()}/{name}"
        raise SettingsError(
            f"block {slug}: {parts}: Prefect cannot read it; edit the block or run `make blocks` again"
        ) from None
    except ValueError as error:
        if NO_BLOCK not in str(error):
            raise
        return None
    if not isinstance(loaded, kind):
        return None
    learn_all(loaded)
    return loaded


def _prefect_is_new() -> bool:
    """Whether Prefect has no server and no database file, so that it has no block either.

    Asking it would start a temporary server, which takes half a minute to make its database.
    """
    prefect = get_current_settings()
    connection_url = prefect.server.database.connection_url
    if prefect.api.url or connection_url is None:
        return False
    url = make_url(connection_url.get_secret_value())
    if url.get_backend_name() != "sqlite" or not url.database:
        return False
    return not Path(url.database).exists()


def forget(kind: type[Block], name: str) -> None:
    """Delete a block if it exists."""
    if load(kind, name) is not None:
        kind.delete(name)
