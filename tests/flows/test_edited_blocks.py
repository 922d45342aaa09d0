"""Manually edited blocks: used if they are unambiguous, else refused by part and reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from prefect.client.schemas.actions import BlockDocumentUpdate
from prefect_sqlalchemy import ConnectionComponents, SqlAlchemyConnector, SyncDriver

from pipeline import postgres
from pipeline.errors import SettingsError
from tasks import blocks
from tests.flows.support import World, blocks_were_changed, client

SALES = "SELECT count(*) FROM fact_sale"


def components(url: str, **changes: Any) -> ConnectionComponents:
    """A block's fields as somebody types them, for a URL's database."""
    parts = urlsplit(url)
    fields = {
        "driver": "postgresql+psycopg2",
        "username": parts.username,
        "password": unquote(parts.password or ""),
        "host": parts.hostname,
        "port": parts.port,
        "database": parts.path.strip("/"),
    }
    return ConnectionComponents(**(fields | changes))


# How somebody may fill in the fields of the source's block; each leads to the database.
BY_HAND: dict[str, Callable[[str, int], Any]] = {
    "as a URL, the password elsewhere": lambda url, _: {
        "connection_info": f"postgresql+psycopg2://postgres@{url.rpartition('@')[2]}"
    },
    "as a driver of its list": lambda url, _: {
        "connection_info": components(url, driver=SyncDriver.POSTGRESQL_PG8000)
    },
    "several hosts": lambda url, port: {
        "connection_info": components(url, host=f"127.0.0.1:1,127.0.0.1:{port}", port=None)
    },
    "several hosts in the query": lambda url, port: {
        "connection_info": components(url, host=None, port=None, query={"host": f"127.0.0.1:{port}"})
    },
    "white space and options": lambda url, _: {
        "connection_info": components(url, host=" 127.0.0.1 ", query={"options": "-c search_path=a+b"}),
        "connect_args": {"keepalives": True, "connect_timeout": 5},
    },
}


@pytest.mark.parametrize("way", BY_HAND)
def test_an_edited_block_connects_to_the_database(
    kiosk: World, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks_were_changed()
    monkeypatch.setenv("PGPASSWORD", unquote(urlsplit(kiosk.source_url).password or ""))
    port = urlsplit(kiosk.source_url).port or 0
    SqlAlchemyConnector(**BY_HAND[way](kiosk.source_url, port)).save("totesys-source", overwrite=True)
    found = blocks.database_url(blocks.SOURCE, "")
    assert "role postgres in database kiosk_source" in postgres.login(found, "source")


# The same, with what is said of what will not do.
WRONG_BY_HAND: dict[str, tuple[Callable[[str], Any], str]] = {
    "another database": (
        lambda url: {"connection_info": components(url, driver="mysql+pymysql")},
        r"scheme: mysql\+pymysql:// is not a PostgreSQL database",
    ),
    "a readable password": (
        lambda url: {
            "connection_info": components(url, password=None, query={"password": "hunter2-hunter2"})
        },
        "password in Query: everybody can read it there; use the field Password",
    ),
    "a readable password in a URL": (
        lambda url: {"connection_info": "postgresql://postgres@h/db?password=hunter2-hunter2"},
        "password in Connection Info: everybody can read it there",
    ),
    "a password in a URL": (
        lambda url: {"connection_info": "postgresql://postgres:hunter2-hunter2@h/db"},
        "password in Connection Info: everybody can read it there; use the fields, with Password",
    ),
    "a raw @ in a URL": (
        lambda url: {"connection_info": "postgresql://postgres:hunter2@hunter2@h/db"},
        "password: it contains a raw @; write it as %40",
    ),
    "a port in the host and another one": (
        lambda url: {"connection_info": components(url, host="h:1", port=2)},
        "port: the host contains 1, the field Port another one",
    ),
    "an option of Python": (
        lambda url: {"connection_info": components(url), "connect_args": {"autocommit": True}},
        "option autocommit: libpq has no such option",
    ),
    "no database": (
        lambda url: {"connection_info": components(url, database=None)},
        "database: it is missing",
    ),
    "two users": (
        lambda url: {"connection_info": components(url), "connect_args": {"user": "other"}},
        "user in Connect Args: another field of the block has another value",
    ),
}


@pytest.mark.parametrize("way", WRONG_BY_HAND)
def test_an_unusable_block_is_refused_by_part_and_reason(kiosk: World, way: str) -> None:
    blocks_were_changed()
    fields, said = WRONG_BY_HAND[way]
    SqlAlchemyConnector(**fields(kiosk.source_url)).save("totesys-source", overwrite=True)
    block = "block sqlalchemy-connector/totesys-source"
    with pytest.raises(SettingsError, match=f"^{block}: {said}") as caught:
        blocks.database_url(blocks.SOURCE, "")
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_block_that_prefect_cannot_load_is_refused_without_its_values(kiosk: World) -> None:
    """The UI validates nothing; SQLAlchemy cannot read several hosts, and its error shows the URL."""
    kiosk.save_blocks()
    blocks_were_changed()
    with client() as prefect:
        document = prefect.read_block_document_by_name("totesys-source", "sqlalchemy-connector")
        wrong = BlockDocumentUpdate(
            data={"connection_info": "postgresql://u:hunter2-hunter2@h:port/db"},
            block_schema_id=document.block_schema_id,
            merge_existing_data=False,
        )
        prefect.update_block_document(document.id, wrong)
    with pytest.raises(SettingsError, match=r"^block sqlalchemy-connector/totesys-source: connection_info"):
        blocks.database_url(blocks.SOURCE, "")
