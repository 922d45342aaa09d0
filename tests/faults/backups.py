"""Backups of a warehouse and of the raw bucket, to be restored later."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.faults import servers

if TYPE_CHECKING:
    from tests.faults.site import Site


@dataclass(frozen=True)
class Backup:
    """What pg_dump wrote, by the schemas that it holds, and the raw bucket's objects."""

    dumps: dict[str, str]
    raw: dict[str, bytes]


def make(site: Site) -> Backup:
    """Back up a site whose warehouse is at its last batch."""
    server = site.servers.warehouse
    return Backup(
        {
            what: servers.dump(server, site.warehouse_url, *options)
            for what, options in {"all": (), "etl": ("-netl",), "public": ("-npublic",)}.items()
        },
        site.contents("raw"),
    )


def restore(site: Site, backup: Backup, what: str) -> None:
    """Restore the whole warehouse (``all``) or one schema of it."""
    site.drop(*(("public", "etl", "as_of", "reporting") if what == "all" else (what,)))
    servers.restore(site.servers.warehouse, site.warehouse_url, backup.dumps[what])
